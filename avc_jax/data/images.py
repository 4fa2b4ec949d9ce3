"""Labelled pictures for classification: sets that TensorFlow Datasets reads, and the crops that are cut from pictures."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from avc_jax import errors
from avc_jax.data.pipeline import Batch

TEST_SPLITS = ("validation", "val", "test")  # The first that there is.
_SHUFFLED = 8192  # Encoded pictures that wait to be drawn.


@dataclasses.dataclass(frozen=True)
class View:
    """What is cut from a picture.

    Attributes:
      size: side of the square that is delivered, in pixels.
      short_side: the centre is cut from the picture scaled to this shorter side.
      area: range of the area of a random crop, as a share of the picture's.
      aspect: range of its width over its height.
      seed: of the random crops.
    """

    size: int
    short_side: int
    area: tuple[float, float]
    aspect: tuple[float, float]
    seed: int

    def random(self, picture: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """uint8[size, size, 3]: a crop of uint8[h, w, 3] of random place, area and aspect, stretched to a square.

        As Inception's (arXiv:1409.4842, section 6), and a pure function of (seed, number). Where no such crop fits in, the
        whole picture.
        """
        seed = tf.stack([np.int64(self.seed), tf.cast(number, tf.int64)])
        begin, length, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(picture), tf.zeros((1, 0, 4)), seed, min_object_covered=0.0, aspect_ratio_range=self.aspect,
            area_range=self.area, max_attempts=10, use_image_if_no_bounding_boxes=True)
        return _scale(tf.slice(picture, begin, length), (self.size, self.size))

    def centre(self, picture: tf.Tensor) -> tf.Tensor:
        """uint8[size, size, 3]: the centre of uint8[h, w, 3]."""
        sides = tf.shape(picture)[:2]
        scaled = tf.maximum(self.size, tf.cast(tf.round(sides / tf.reduce_min(sides) * self.short_side), tf.int32))
        begin = (scaled - self.size) // 2
        return _scale(picture, scaled)[begin[0] : begin[0] + self.size, begin[1] : begin[1] + self.size]


def _scale(picture: tf.Tensor, shape) -> tf.Tensor:
    return tf.saturate_cast(tf.round(tf.image.resize(picture, shape, antialias=True)), tf.uint8)


def random_crops(batches: Iterator[Batch], view: View) -> Iterator[Batch]:
    """Cuts a random crop from each `frame` uint8[B, h, w, 3] of batches, and leaves the other fields as they are."""
    @tf.function
    def cut(frames, numbers):
        return tf.map_fn(lambda row: view.random(*row), (frames, numbers),
                         fn_output_signature=tf.TensorSpec((view.size, view.size, 3), tf.uint8))

    for place, batch in enumerate(batches):
        rows = len(batch["frame"])
        yield batch | {"frame": cut(batch["frame"], np.arange(place * rows, (place + 1) * rows)).numpy()}


class Pictures:
    """The training and test pictures of a set, with labels 0 .. num_classes - 1."""

    def __init__(self, dataset: str, root: str, *, threads: int = 0):
        """
        Args:
          dataset: image_folder, or the name of a builder of TensorFlow Datasets.
          root: the folder of folders, or the builder's data_dir.
          threads: pictures decoded at once; 0: one per core.

        Raises:
          MissingInputError: there is no such set, or it has not been prepared, or lacks a split.

        Batches raise DataError where a picture cannot be decoded.
        """
        self._builder = _open(dataset, root)
        self._threads = threads or os.cpu_count() or 1
        have = {name: split for name, split in self._builder.info.splits.items() if split.num_examples}
        test = next((name for name in TEST_SPLITS if name in have), None)
        if "train" not in have or test is None:
            raise errors.MissingInputError(f"config.probe.dataset={dataset}: found splits {', '.join(have) or 'none'}; expected "
                                           f"pictures in train and one of {', '.join(TEST_SPLITS)} (an image_folder has a folder "
                                           "for each).")
        self._splits = {"train": "train", "test": test}
        self.num_classes = self._builder.info.features["label"].num_classes
        self.num_train = have["train"].num_examples
        facts = [self._builder.info.full_name, str(root), {name: have[name].num_examples for name in self._splits.values()},
                 self._builder.info.features["label"].names]
        self.data_sha256 = hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def centres(self, split: str, view: View, batch_size: int) -> Iterator[Batch]:
        """Yields frame uint8[B, size, size, 3] and label int32[B] of every picture of train or test, in order; the last fewer."""
        def cut(image, label):
            return view.centre(_decode(image)), label

        return self._batches(self._encoded(split).map(cut, **self._parallel), batch_size)

    def random(self, view: View, batch_size: int, *, host: int = 0, hosts: int = 1) -> Iterator[Batch]:
        """Yields this host's share of the training pictures, shuffled and cropped anew in every epoch, for ever; as `centres`."""
        shuffled = self._encoded("train").shard(hosts, host).shuffle(_SHUFFLED, seed=view.seed).repeat().enumerate()

        def cut(number, example):
            return view.random(_decode(example[0]), number * hosts + host), example[1]

        return self._batches(shuffled.map(cut, **self._parallel), batch_size)

    @property
    def _parallel(self):
        return dict(num_parallel_calls=self._threads, deterministic=True)

    def _encoded(self, split: str) -> tf.data.Dataset:
        """(string[] file, int64[] label) of every picture, in order."""
        import tensorflow_datasets as tfds

        return self._builder.as_dataset(split=self._splits[split], as_supervised=True,
                                        decoders={"image": tfds.decode.SkipDecoding()})

    def _batches(self, dataset: tf.data.Dataset, batch_size: int) -> Iterator[Batch]:
        options = tf.data.Options()
        options.threading.private_threadpool_size = self._threads
        try:
            for frame, label in dataset.batch(batch_size).prefetch(1).with_options(options).as_numpy_iterator():
                yield {"frame": frame, "label": label.astype(np.int32)}
        except tf.errors.InvalidArgumentError as error:
            raise errors.DataError(f"A picture of config.probe.dataset={self._builder.name} cannot be decoded: "
                                   f"{error.message}") from error


def _decode(image: tf.Tensor) -> tf.Tensor:
    """uint8[h, w, 3] of the bytes of a JPEG, PNG, GIF (its first picture) or BMP."""
    return tf.io.decode_image(image, channels=3, expand_animations=False)


def _open(dataset: str, root: str):
    """The builder of TensorFlow Datasets."""
    import tensorflow_datasets as tfds

    if not Path(root).is_dir() or not root:
        raise errors.MissingInputError(f"config.probe.root={root}: expected the folder of {dataset}, found none.")
    if dataset == "image_folder":
        return tfds.ImageFolder(root)
    try:
        builder = tfds.builder(dataset, data_dir=root)
    except tfds.core.DatasetNotFoundError as error:
        raise errors.MissingInputError(f"config.probe.dataset={dataset}: TensorFlow Datasets knows no such builder, and {root} "
                                       "holds none prepared.") from error
    if not builder.is_prepared():
        manual = " ".join((getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None) or "").split())
        raise errors.MissingInputError(
            f"config.probe.dataset={dataset}: {root} holds no prepared {builder.info.full_name}. Download it yourself and "
            f"prepare it once: tfds build {dataset} --data_dir={root} --manual_dir=FOLDER_OF_THE_DOWNLOAD. {manual}".strip())
    return builder
