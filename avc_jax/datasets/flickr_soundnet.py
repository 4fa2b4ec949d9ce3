"""Flickr-SoundNet: 500,000 of the two million videos of SoundNet (arXiv:1610.09001), as drawn in arXiv:1705.08168."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from avc_jax import errors
from avc_jax.data.sources import HASHED_SPLITS, hashed_split
from avc_jax.datasets.layout import Folder, Item, choose

VARIANTS = {"500k": "400,000 clips for training, 50,000 for validation, 50,000 for testing."}
CLASSES: tuple[str, ...] = ()
LIST = "urls_public.txt"
SIZES = {"train": 400_000, "validation": 50_000, "test": 50_000}
LENGTH_S = 10.0
# http://www.flickr.com/videos/47762553@N00/9419455509/play/orig/8461e78d0d, or the number alone.
_ID = re.compile(r"(?:.*/)?(\d+)(?:/play/.*|/)?")


def read(root: Path, variant: str = "", missing_budget: float = 0.0, seed: int = 0) -> list[Item]:
    """The first 10 s of the videos that a draw takes, as many of each split as there are and at most SIZES.

    The draw goes through the list in a random order of its own and takes the videos that are there, so one that is missing
    moves no other to another split.

    Args:
      root: holds urls_public.txt, and the videos anywhere, called by their Flickr numbers.
      variant: one of VARIANTS.
      missing_budget: share that may be missing of the videos that the draw came by.
      seed: of the draw.

    Raises:
      MissingInputError: the list, or more than that share of the videos, is not there.
      DataError: a line of the list names no video.
      ConfigError: no such variant.
    """
    folder = Folder(Path(root), "flickr_soundnet")
    choose(variant, VARIANTS)
    numbers = _numbers(folder)
    videos = {PurePosixPath(path).stem: path for path in folder.videos()}
    items, missing = [], []
    for split, order in draw(numbers, seed).items():
        taken = 0
        for number in order:
            if taken == SIZES[split]:
                break
            if number in videos:
                items.append(Item(videos[number], "", split, end_s=LENGTH_S))
                taken += 1
            else:
                missing.append(f"videos/{number}.mp4")
    folder.tell(missing, len(items) + len(missing), missing_budget)
    return items


def draw(numbers: Iterable[str], seed: int = 0) -> dict[str, list[str]]:
    """Split -> the videos that may be taken into it, in the order in which they are."""
    shares = [SIZES[split] / sum(SIZES.values()) for split in HASHED_SPLITS]
    drawn: dict[str, list[str]] = {split: [] for split in HASHED_SPLITS}
    for key in sorted((f"{seed}:{number}" for number in set(numbers)), key=lambda key: hashlib.sha256(key.encode()).digest()):
        drawn[hashed_split(key, shares)].append(key.partition(":")[2])
    return drawn


def _numbers(folder: Folder) -> list[str]:
    path = folder.root / LIST
    if not path.is_file():
        raise folder.absent("the list of videos, an address or a Flickr number on each line", LIST)
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.DataError(f"{path} cannot be read: {error}.") from error
    found = [_ID.fullmatch(line) for line in lines]
    for line, number in zip(lines, found, strict=True):
        if number is None:
            raise folder.wrong(LIST, f"{line!r} names no video of Flickr.")
    if not lines:
        raise folder.wrong(LIST, "it has no lines.")
    return [number[1] for number in found if number]
