"""Acoustic scenes of DCASE 2013: 30 s each, ten classes, a public and a private part of ten recordings per class."""

import re
from collections import Counter
from pathlib import Path

from avc_jax.datasets.layout import Folder, Item, choose

VARIANTS = {
    "two_folds": "Each part is a fold: learn on one, score on the other, and the other way round.",
    "train_test": "The public part is for training, the private one for testing, as in the challenge.",
}
CLASSES = ("bus", "busystreet", "office", "openairmarket", "park", "quietstreet", "restaurant", "supermarket", "tube",
           "tubestation")
PARTS = ("scenes_stereo", "scenes_stereo_testset")
PER_CLASS = 10
_GROUPS = {"two_folds": ("1", "2"), "train_test": ("train", "test")}
# Class and two digits, which do not run from 01 to 10. Some tools put test_ before the names of the private part.
_NAME = re.compile(r"(?:test_)?([a-z]+)\d\d\.wav")


def read(root: Path, variant: str = "") -> list[Item]:
    """The recordings of both parts, whose names say their classes.

    Raises:
      MissingInputError: a part, or a recording of a class, is not there.
      DataError: a recording's name says no class.
      ConfigError: no such variant.
    """
    folder = Folder(Path(root), "dcase2013_scenes")
    groups = _GROUPS[choose(variant, VARIANTS)]
    return [item for part, group in zip(PARTS, groups, strict=True) for item in _read_part(folder, part, group)]


def _read_part(folder: Folder, part: str, group: str) -> list[Item]:
    items = []
    for file in sorted((folder.root / part).rglob("*.wav")):
        if file.name.startswith("."):  # macOS leaves ._bus01.wav beside bus01.wav
            continue
        path, name = file.relative_to(folder.root).as_posix(), _NAME.fullmatch(file.name)
        if name is None or name[1] not in CLASSES:
            raise folder.wrong(path, "expected a name such as bus01.wav, of two digits and one of the classes "
                                     f"{', '.join(CLASSES)}.")
        items.append(Item(path, name[1], group))
    if not items:
        raise folder.absent("recordings such as bus01.wav", part)
    counts = Counter(item.label for item in items)
    for label in CLASSES:
        if counts[label] != PER_CLASS:
            raise folder.absent(f"{PER_CLASS} recordings of {label}, such as {label}01.wav", part, str(counts[label]))
    return items
