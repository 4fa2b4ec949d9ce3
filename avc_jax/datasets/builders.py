"""The data sets as builders of tensorflow-datasets, which importing this registers.

    import avc_jax.datasets.builders
    builder = tfds.builder("esc50", data_dir=WHERE_TO_WRITE)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=FOLDER))

Sounds are decoded, each at its own rate. Videos stay where they are: an example says where, and which stretch of them.
avc_jax.prepare makes records with frames. Clips of pickles come with all of their tracks, pictures with their spoken captions;
they are read by what training reads them with.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from avc_jax import errors
from avc_jax.data import files
from avc_jax.data.decode import MediaFile
from avc_jax.data.items import Item as Tracks
from avc_jax.data.items import ItemSource
from avc_jax.data.items.film import Film
from avc_jax.datasets import (
    crosstask,
    dcase2013_scenes,
    esc50,
    flickr8k_audio,
    flickr_soundnet,
    howto100m,
    kinetics_sounds,
    labelled,
    msrvtt,
    opened,
    places_audio,
    spoken_objectnet_50k,
    youcook2,
    youcook_japanese,
)
from avc_jax.datasets.layout import Item

WHOLE = files.Stretch(-math.inf, math.inf)


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """A config of a builder.

    Attributes:
      options: what `read` of the data set's module takes beside the folder, such as {"missing_budget": 0.2}.
    """

    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def decode(path: Path, stretch: files.Stretch = WHOLE) -> tuple[int, np.ndarray]:
    """The rate in Hz of a file's sound, and int16[n]: its channels mixed.

    Raises:
      DataError: it cannot be decoded, or there is nothing in that stretch.
    """
    try:
        with MediaFile(path, video=False) as media:
            return media.native_rate_hz, files.read_sound(media, stretch, media.native_rate_hz)
    except errors.BadMedia as error:
        raise errors.DataError(f"{path} cannot be used: {error}") from error


def _configs(dataset: ModuleType) -> list[Config]:
    """One for each variant; one in all of a set that is read in one way."""
    if not dataset.VARIANTS:
        return [Config(name="labels", description="The rows of labels.csv.")]
    return [Config(name=name, description=line, options={"variant": name}) for name, line in dataset.VARIANTS.items()]


def _split_name(group: str) -> str:
    """A fold or split, as tensorflow-datasets may call it."""
    return f"fold{group}" if group.isdigit() else re.sub(r"\W", "_", group)


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What all have in common: the items of a module, one split for each fold or split."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First."}  # noqa: RUF012
    DATASET: ModuleType
    FOLDER: str  # what has to lie in the folder

    def __init_subclass__(cls, **kwargs):
        if dataset := vars(cls).get("DATASET"):
            page = dataset.__name__.rpartition(".")[2]
            cls.MANUAL_DOWNLOAD_INSTRUCTIONS = f"{cls.FOLDER}; see docs/datasets/{page}.md."
            cls.BUILDER_CONFIGS = _configs(dataset)
        super().__init_subclass__(**kwargs)

    # Each kind of data set says these two; this class is no data set (skip_registration).
    def _features(self) -> dict[str, Any]:
        raise NotImplementedError

    def _example(self, root: Path, item: Item) -> dict[str, Any]:
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, description=self.DATASET.__doc__,
                                     features=tfds.features.FeaturesDict(self._features()))

    def _split_generators(self, dl_manager):
        root = Path(dl_manager.manual_dir)
        items = self.DATASET.read(root, **self.builder_config.options)
        if not self.DATASET.CLASSES and "label" in self.info.features:
            self.info.features["label"].names = sorted({item.label for item in items})
        groups: dict[str, list[Item]] = {}
        for item in items:
            groups.setdefault(_split_name(item.fold_or_split), []).append(item)
        return {name: self._generate_examples(root, groups[name]) for name in sorted(groups)}

    def _generate_examples(self, root: Path, items: list[Item]) -> Iterator[tuple[str, dict[str, Any]]]:
        for item in items:
            yield f"{item.path} {item.start_s} {item.end_s}", self._example(root, item)

    def _label(self) -> tfds.features.ClassLabel:
        return tfds.features.ClassLabel(names=self.DATASET.CLASSES or None)


class _Sounds(_Builder, skip_registration=True):  # type: ignore[call-arg]
    """Decoded sounds."""

    def _features(self):
        return {"audio": tfds.features.Audio(shape=(None,), dtype=np.int16, doc="Mono, at the rate of the file."),
                "rate_hz": np.int32, "label": self._label(), "fold": tfds.features.Text(), "path": tfds.features.Text()}

    def _example(self, root, item):
        rate_hz, audio = decode(root / item.path, files.Stretch(item.start_s, item.end_s))
        return {"audio": audio, "rate_hz": rate_hz, "label": item.label, "fold": item.fold_or_split, "path": item.path}


class _Videos(_Builder, skip_registration=True):  # type: ignore[call-arg]
    """References to videos."""

    def _features(self):
        return {"path": tfds.features.Text(doc="Relative to the folder."), "label": self._label(), "split": tfds.features.Text(),
                "start_s": np.float64, "end_s": np.float64}

    def _example(self, root, item):
        return {"path": item.path, "label": item.label, "split": item.fold_or_split, "start_s": item.start_s, "end_s": item.end_s}


class Esc50(_Sounds):
    DATASET = esc50
    FOLDER = "The folder of ESC-50: meta/esc50.csv and audio/"


class Dcase2013Scenes(_Sounds):
    DATASET = dcase2013_scenes
    FOLDER = "scenes_stereo/ and scenes_stereo_testset/"


class LabelledAudio(_Sounds):
    DATASET = labelled
    FOLDER = "Your sounds, and labels.csv with path, label, fold"


class KineticsSounds(_Videos):
    DATASET = kinetics_sounds
    FOLDER = "annotations/ of Kinetics-400, and its videos"


class FlickrSoundnet(_Videos):
    DATASET = flickr_soundnet
    FOLDER = "urls_public.txt and videos/"

    def _features(self):
        return {name: feature for name, feature in super()._features().items() if name != "label"}

    def _example(self, root, item):
        return {name: value for name, value in super()._example(root, item).items() if name != "label"}


class LabelledMedia(_Videos):
    DATASET = labelled
    FOLDER = "Your videos, and labels.csv with path, label, split"


class _Items(_Builder, skip_registration=True):  # type: ignore[call-arg]
    """What data sets of items have in common."""

    # Each kind of them says this one; this class is no data set (skip_registration).
    def _tracks(self, source: ItemSource, item: Tracks) -> dict[str, Any]:
        raise NotImplementedError

    def _split_generators(self, dl_manager):
        name = self.DATASET.__name__.rpartition(".")[2]
        source = opened.open_set(name, Path(dl_manager.manual_dir), **self.builder_config.options)
        groups: dict[str, list[int]] = {}
        for place, item in enumerate(source.items):
            groups.setdefault(_split_name(item.split), []).append(place)
        return {split: self._generate_tracks(source, groups[split]) for split in sorted(groups)}

    def _generate_tracks(self, source: ItemSource, places: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        for place in places:
            item = source.items[place]
            yield place, {"path": item.path, "split": item.split, **self._tracks(source, item)}

    def _features(self):
        return {"path": tfds.features.Text(), "split": tfds.features.Text()}


class _Clips(_Items, skip_registration=True):  # type: ignore[call-arg]
    """Clips with features, spectrogram and captions; `path` is the name of a clip."""

    def _features(self):
        rows = tfds.features.Tensor(shape=(None, 2048), dtype=np.float32, doc="As they are stored, not of unit length.")
        return super()._features() | {
            "2d": rows, "3d": rows,
            "captions": tfds.features.Sequence(tfds.features.Text()), "eval_caption": tfds.features.Text(),
            "spectrogram": tfds.features.Tensor(shape=(40, None), dtype=np.float32, doc="Decibels; 0 frames: it has no sound.")}

    def _tracks(self, source, item):
        film = Film(source, item, "spectrogram")
        sound = np.zeros((40, 0)) if film.spectrogram is None else film.spectrogram
        return {"2d": film.rows("2d").astype(np.float32), "3d": film.rows("3d").astype(np.float32),
                "captions": item.captions.texts, "eval_caption": item.text, "spectrogram": sound.astype(np.float32)}


class _Captions(_Items, skip_registration=True):  # type: ignore[call-arg]
    """Pictures with a spoken caption; `path` is that of the sound."""

    def _features(self):
        return super()._features() | {
            "image": tfds.features.Image(shape=(None, None, 3)), "image_path": tfds.features.Text(), "rate_hz": np.int32,
            "audio": tfds.features.Audio(shape=(None,), dtype=np.int16, doc="Mono, at the rate of the file."),
            "text": tfds.features.Text(doc="What speech recognition heard, where the list says it.")}

    def _tracks(self, source, item):
        rate_hz, audio = decode(source.media / item.path)
        return {"image": str(source.root / item.image), "image_path": item.image, "rate_hz": rate_hz, "audio": audio,
                "text": " ".join(item.captions.texts)}


class Howto100m(_Items):
    """References to films with features, and what is said in them when."""

    DATASET = howto100m
    FOLDER = "Features beside each other, and a file of captions"

    def _features(self):
        return super()._features() | {
            "captions": tfds.features.Sequence({"start_s": np.float64, "end_s": np.float64, "text": tfds.features.Text()})}

    def _tracks(self, source, item):
        said = item.captions
        return {"captions": {"start_s": said.start_s, "end_s": said.end_s, "text": said.texts}}


class Youcook2(_Clips):
    DATASET = youcook2
    FOLDER = "The folder data/ of AVLnet's release"


class Msrvtt(_Clips):
    DATASET = msrvtt
    FOLDER = "The folder data/ of AVLnet's release"


class Crosstask(_Clips):
    DATASET = crosstask
    FOLDER = "The folder data/ of AVLnet's release"


class YoucookJapanese(_Clips):
    DATASET = youcook_japanese
    FOLDER = "The folder data/YouCook_Japanese"


class PlacesAudio(_Captions):
    DATASET = places_audio
    FOLDER = "images/ of Places205, and the captions beside it"


class SpokenObjectnet50k(_Captions):
    name = "spoken_objectnet_50k"  # else spoken_objectnet50k
    DATASET = spoken_objectnet_50k
    FOLDER = "Spoken-ObjectNet-50k/ and objectnet-1.0/"


class Flickr8kAudio(_Captions):
    DATASET = flickr8k_audio
    FOLDER = "flickr_audio/ and the pictures and lists of Flickr8k"
