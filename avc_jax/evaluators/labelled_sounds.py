"""Sounds with a class and a fold, which transfer is measured on: of a data set, of a CSV, or of the run's own clips."""

import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np

from avc_jax import datasets, errors
from avc_jax.data import decoders
from avc_jax.data.sources import Source, read_manifest, stretch_of

OWN_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class LabelledSound:
    """A sound in a file.

    Attributes:
      path: of the file.
      label: its class.
      fold: name of its fold; sounds of one recording share a fold.
      start_s, end_s: the stretch on the file's clock.
    """

    path: Path
    label: str
    fold: str
    start_s: float = -math.inf
    end_s: float = math.inf

    def read(self, rate_hz: int) -> np.ndarray:
        """int16[n]: all of it, mono.

        Raises:
          BadMedia: it cannot be had.
        """
        return decoders.read_sound(self.path, self, rate_hz)

    def identity(self) -> tuple:
        """What features of it depend on, as JSON values: which stretch of which file, as it is now."""
        stat = self.path.stat() if self.path.exists() else None
        return (str(self.path), self.start_s, self.end_s, stat and (stat.st_size, stat.st_mtime_ns))


@dataclasses.dataclass(frozen=True)
class ClipSound(LabelledSound):
    """The sound of a clip of a source, which may have it without the file.

    Attributes:
      source: whose clip it is.
      place: of the clip in the source.
    """

    source: Source | None = None
    place: int = -1

    def read(self, rate_hz: int) -> np.ndarray:
        assert self.source is not None
        return self.source.sound(self.place, rate_hz)


def find(config, heldout: Source) -> list[LabelledSound]:
    """The labelled sounds that config.transfer names; where it names none, those of the held-out clips that have a label.

    Raises:
      ConfigError: config.transfer.root is of nothing.
      MissingInputError: the folder, the manifest or a file that it lists is not there.
      DataError: the manifest lacks labels or folds.
    """
    own = config.transfer
    if own.dataset:
        items = datasets.SOUNDS[own.dataset].read(Path(own.root), own.variant)
        return [LabelledSound(Path(own.root) / item.path, item.label, str(item.fold_or_split), item.start_s, item.end_s)
                for item in items]
    if own.manifest:
        return _listed(own.root, own.manifest)
    if own.root:
        raise errors.ConfigError(f"config.transfer.root={own.root}: name also what lies there, by config.transfer.manifest (a "
                                 "CSV of path,label,fold) or config.transfer.dataset.")
    return [ClipSound(heldout.root / clip.path, clip.label, hashed_fold(clip.path), clip.start_s, clip.end_s, heldout, place)
            for place, clip in enumerate(heldout.clips) if clip.label]


def _listed(root: str, manifest: str) -> list[LabelledSound]:
    """The sounds of a CSV of path,label,fold; paths are relative to root, or where that is empty to the CSV."""
    folder = Path(root) if root else Path(manifest).absolute().parent
    rows = read_manifest(folder, manifest if root else Path(manifest).name, "config.transfer.manifest")
    for number, row in enumerate(rows, start=2):
        if not row.get("label") or not row.get("fold"):
            raise errors.DataError(f"config.transfer.manifest={manifest}, line {number}: found label {row.get('label')!r} and "
                                   f"fold {row.get('fold')!r}; expected both, in columns label and fold.")
    sounds = [LabelledSound(folder / row["path"], row["label"], row["fold"], *stretch_of(row)) for row in rows]
    missing = [str(sound.path) for sound in sounds if not sound.path.is_file()]
    if missing:
        raise errors.MissingInputError(f"config.transfer.manifest={manifest}: {len(missing)} of the {len(sounds)} files that it "
                                       f"lists are not there, such as {missing[0]}; put them there, or name their folder by "
                                       "config.transfer.root.")
    return sounds


def hashed_fold(path: str) -> str:
    """1 to 5 by a hash of the relative path: stable when files come and go, and one fold for all clips of a file."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return str(1 + int.from_bytes(digest) % OWN_FOLDS)
