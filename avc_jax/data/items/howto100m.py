"""Under which name the features of a film lie that a published list of HowTo100M names."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from avc_jax.data.inputs import VIDEOS


class Found(NamedTuple):
    """Features of a film.

    Attributes:
      name: what the names of their files begin with, relative to the folder.
      lacking: the endings that no file has.
    """

    name: str
    lacking: tuple[str, ...]


def find(root: Path, listed: str, endings: Sequence[str]) -> Found:
    """The features of a path of a list, such as food/video_j/jEyaTUyJ-rs.

    They lie beside it, food/video_j/jEyaTUyJ-rs_2d.npz, or as the published code reads them in a folder of that name,
    food/video_j/jEyaTUyJ-rs/jEyaTUyJ-rs_2d.npz. Some lists have None/ before the path, which folders seldom do.

    Args:
      root: folder of the features.
      listed: the path; an extension of a video does not count.
      endings: of the files, such as _2d.npz.

    Returns:
      The name that most of them have; the first of these where it is no other.
    """
    stem, extension = os.path.splitext(listed)
    bare = stem if extension.lower() in VIDEOS else listed
    names = [name for path in dict.fromkeys((bare.removeprefix("None/"), bare))
             for name in (path, f"{path}/{os.path.basename(path)}")]
    best = Found(names[0], tuple(endings))
    for name in names:
        lacking = tuple(ending for ending in endings if not (root / f"{name}{ending}").is_file())
        if len(lacking) < len(best.lacking):
            best = Found(name, lacking)
        if not lacking:
            break
    return best
