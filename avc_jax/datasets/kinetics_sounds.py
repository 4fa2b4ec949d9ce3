"""Kinetics-Sounds: the 34 classes of Kinetics that are heard as well as seen (arXiv:1705.08168, appendix)."""

import re
from pathlib import Path, PurePosixPath

from avc_jax.data.sources import hashed_split
from avc_jax.datasets.layout import Folder, Item, choose

VARIANTS = {
    "official": "The splits of Kinetics.",
    "hashed": "All clips, 80 % train, 10 % validation and 10 % test by a hash of their names: about the shares of the paper.",
}
CLASSES = (
    "blowing nose", "bowling", "chopping wood", "ripping paper", "shuffling cards", "singing", "tapping pen", "typing",
    "blowing out", "dribbling ball", "laughing", "mowing the lawn by pushing lawnmower", "shoveling snow", "stomping",
    "tap dancing", "tapping guitar", "tickling", "fingerpicking", "patting", "playing accordion", "playing bagpipes",
    "playing bass guitar", "playing clarinet", "playing drums", "playing guitar", "playing harmonica", "playing keyboard",
    "playing organ", "playing piano", "playing saxophone", "playing trombone", "playing trumpet", "playing violin",
    "playing xylophone",
)  # fmt: skip
# The paper used names from before the release. Kinetics-400 has nothing like typing, fingerpicking and patting.
RELEASED = {
    "blowing out candles": "blowing out",
    "dribbling basketball": "dribbling ball",
    "mowing lawn": "mowing the lawn by pushing lawnmower",
    "stomping grapes": "stomping",
}
LISTS = {"train": "train", "val": "validation", "test": "test"}  # folder and annotations/*.csv -> split
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_FRACTIONS = (0.8, 0.1, 0.1)


def read(root: Path, variant: str = "", missing_budget: float = 0.0) -> list[Item]:
    """The clips of annotations/{train,val,test}.csv that are of the 34 classes, under the paper's names.

    Args:
      root: holds annotations/, and the videos anywhere: cut ones (ID_000010_000020.mp4) or whole ones (ID.mp4).
      variant: one of VARIANTS.
      missing_budget: share of the videos that may be missing; they are left out.

    Raises:
      MissingInputError: a list, or more than that share of the videos, is not there.
      DataError: a list is not one of Kinetics.
      ConfigError: no such variant.
    """
    folder = Folder(Path(root), "kinetics_sounds")
    hashed = choose(variant, VARIANTS) == "hashed"
    listed = [row | {"list": name} for name in LISTS for row in _rows(folder, name)]
    if not listed:
        raise folder.wrong("annotations", "none of the lists has a clip of Kinetics-Sounds.")
    # A replacement of a damaged video has its name, and comes after all others.
    paths = sorted(folder.videos(), key=lambda path: (path.startswith("replacement/"), path))
    videos = {PurePosixPath(path).stem: path for path in paths}
    items, missing = [], []
    for row in listed:
        split = hashed_split(row["youtube_id"], _FRACTIONS) if hashed else LISTS[row["list"]]
        item = _item(row, videos, split)
        if item is None:
            missing.append(f"{row['list']}/{_cut_name(row)}.mp4")
        else:
            items.append(item)
    folder.tell(missing, len(listed), missing_budget)
    return items


def _rows(folder: Folder, name: str) -> list[dict[str, str]]:
    path = f"annotations/{name}.csv"
    rows = [row | {"label": RELEASED.get(row["label"], row["label"])} for row in folder.rows(path, _COLUMNS)]
    rows = [row for row in rows if row["label"] in CLASSES]
    for row in rows:
        if not re.fullmatch(r"\d+(\.0*)?", row["time_start"]) or not re.fullmatch(r"\d+(\.0*)?", row["time_end"]):
            raise folder.wrong(path, f"{row['youtube_id']} lasts from {row['time_start']!r} to {row['time_end']!r}; "
                                     "expected whole seconds.")
    return rows


def _cut_name(row: dict[str, str]) -> str:
    return f"{row['youtube_id']}_{int(float(row['time_start'])):06d}_{int(float(row['time_end'])):06d}"


def _item(row: dict[str, str], videos: dict[str, str], split: str) -> Item | None:
    if cut := videos.get(_cut_name(row)):
        return Item(cut, row["label"], split)
    if whole := videos.get(row["youtube_id"]):
        return Item(whole, row["label"], split, float(row["time_start"]), float(row["time_end"]))
    return None
