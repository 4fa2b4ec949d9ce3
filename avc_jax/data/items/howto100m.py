"""Under which name the features of a film lie that a published list of HowTo100M names."""

import functools
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


class Features:
    """The files below a folder, each of whose folders is listed once: there are millions."""

    def __init__(self, root: Path):
        self._root = os.fspath(root)
        self._names = functools.cache(_names)

    def has(self, path: str) -> bool:
        """Whether there is a file of that path, relative to the folder."""
        folder, name = os.path.split(os.path.join(self._root, path))
        return name in self._names(folder)

    def find(self, listed: str, endings: Sequence[str]) -> Found:
        """The features of a path of a list, such as food/video_j/jEyaTUyJ-rs.

        They lie beside it, food/video_j/jEyaTUyJ-rs_2d.npz, or as the published code reads them in a folder of that name,
        food/video_j/jEyaTUyJ-rs/jEyaTUyJ-rs_2d.npz. Some lists have None/ before the path, which folders seldom do.

        Args:
          listed: the path; an extension of a video does not count.
          endings: of the files, such as _2d.npz.

        Returns:
          The name that most of them have; the first one, food/video_j/jEyaTUyJ-rs, where there are none.
        """
        stem, extension = os.path.splitext(listed)
        bare = stem if extension.lower() in VIDEOS else listed
        names = [name for path in dict.fromkeys((bare.removeprefix("None/"), bare))
                 for name in (path, f"{path}/{os.path.basename(path)}")]
        found = (Found(name, tuple(ending for ending in endings if not self.has(f"{name}{ending}"))) for name in names)
        return min(found, key=lambda one: len(one.lacking))


def _names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()
