"""What the linear probe classifies: frames of the run's own clips, or the pictures of a set."""

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import jax
import numpy as np

from avc_jax.data import pipeline
from avc_jax.data.feed import to_devices
from avc_jax.data.images import Pictures, View, random_crops
from avc_jax.data.moments import make_format
from avc_jax.data.plan import Plan
from avc_jax.evaluators.base import Network, Setting
from avc_jax.evaluators.features import missing_rows
from avc_jax.parallel import mesh as meshes

Batches = Iterator[dict[str, np.ndarray]]


class Data(Protocol):
    """Labelled pictures in two splits, train and test.

    Attributes:
      num_classes: labels are 0 .. num_classes - 1.
      num_train: training pictures.
      data_sha256: digest of the pictures, where they are not the run's own.
    """

    num_classes: int
    num_train: int
    data_sha256: str

    def missing(self) -> str | None:
        """Why these cannot be classified, or None."""

    def features(self, network: Network, split: str) -> tuple[np.ndarray, np.ndarray]:
        """f32[n, D] features of the centres of all pictures, and their labels int32[n]."""

    def crops(self) -> Batches:
        """frame uint8[B, S, S, 3] and label int32[B] of random crops of training pictures, for ever: this process's rows."""


class Clips(Data):
    """Frames of the run's own labelled clips: those in the middle of them, or, for random crops, any."""

    data_sha256 = ""

    def __init__(self, setting: Setting, features, view: View):
        self._setting, self._features, self._view = setting, features, view
        self._sources = {"train": setting.train, "test": setting.heldout}
        labels = {clip.label for source in self._sources.values() for clip in source.clips} - {""}
        self._class = {label: number for number, label in enumerate(sorted(labels))}
        self.num_classes = len(self._class)
        self.num_train = sum(clip.label != "" for clip in setting.train.clips)

    def missing(self) -> str | None:
        found = {split: {clip.label for clip in source.clips} - {""} for split, source in self._sources.items()}
        if len(found["train"]) < 2 or not found["test"]:
            return (f"the training clips are labelled with {len(found['train'])} classes and the held-out ones with "
                    f"{len(found['test'])}, expected two and one at least; the column label of the manifest "
                    "(config.data.manifest) gives clips their labels, and config.probe.dataset names other pictures")
        return None

    def features(self, network: Network, split: str) -> tuple[np.ndarray, np.ndarray]:
        source = self._sources[split]
        table = self._features.clips(network, source, "transfer")
        label = np.array([self._class.get(source.clips[clip].label, -1) for clip in table.clip], np.int32)
        kept = (label >= 0) & ~missing_rows(table.values["video"])
        return table.values["video"][kept], label[kept]

    def crops(self) -> Batches:
        config = self._setting.config
        source = dataclasses.replace(self._setting.train, clips=tuple(clip for clip in self._setting.train.clips if clip.label))
        label = np.array([self._class[clip.label] for clip in source.clips], np.int32)
        # As much of the frame as a square holds: the crops are cut from that.
        form = dataclasses.replace(make_format(config), size=config.data.frame_short_side)
        plan = Plan(len(source.clips), self._view.seed, config.probe.batch_size)
        reader = source.reader(plan, form, self._setting.quarantine, ("frame",))
        batches = pipeline.train_batches(reader, first_step=0, host=jax.process_index(), hosts=jax.process_count(),
                                         threads=config.data.decode_threads, ahead=config.data.prefetch_batches,
                                         names=("frame", "clip"))
        return random_crops(({"frame": batch["frame"], "label": label[batch["clip"]]} for batch in batches), self._view)


class Sets(Data):
    """The pictures of config.probe.dataset."""

    def __init__(self, setting: Setting, view: View):
        """
        Raises:
          MissingInputError: they are not there.
        """
        config = setting.config
        self._setting, self._view = setting, view
        self._pictures = Pictures(config.probe.dataset, config.probe.root, threads=config.data.decode_threads)
        self.num_classes, self.num_train = self._pictures.num_classes, self._pictures.num_train
        self.data_sha256 = self._pictures.data_sha256
        transfer = setting.system.transfer
        assert transfer is not None  # missing() says so
        self._transfer = jax.jit(lambda variables, batch: transfer(variables, batch)["video"],
                                 out_shardings=meshes.replicated(setting.mesh))

    def missing(self) -> str | None:
        return None

    def features(self, network: Network, split: str) -> tuple[np.ndarray, np.ndarray]:
        size = self._setting.config.probe.batch_size
        own = size // jax.process_count()
        found = []
        # Every process reads every picture, and computes its rows of each batch.
        for batch in self._pictures.centres(split, self._view, size):
            self._setting.pulse()
            frame = np.pad(batch["frame"], [(0, size - len(batch["frame"]))] + 3 * [(0, 0)])
            rows = to_devices({"frame": frame[jax.process_index() * own :][:own]}, meshes.batch_sharding(self._setting.mesh))
            rows = self._transfer(network.variables, rows)
            found.append((np.asarray(rows)[: len(batch["label"])], batch["label"]))
        values, labels = zip(*found, strict=True)
        return np.concatenate(values), np.concatenate(labels)

    def crops(self) -> Batches:
        hosts = jax.process_count()
        return self._pictures.random(self._view, self._setting.config.probe.batch_size // hosts, host=jax.process_index(),
                                     hosts=hosts)


def make(setting: Setting, features, size: int) -> Data:
    """What config.probe.dataset names, as pictures of size x size pixels.

    Raises:
      MissingInputError: it is not there.
    """
    config = setting.config
    view = View(size, round(size * config.data.frame_short_side / config.data.frame_size), config.probe.crop_area,
                config.probe.crop_aspect, config.evaluate.seed)
    return Sets(setting, view) if config.probe.dataset else Clips(setting, features, view)
