"""The folder of features: HowTo100M's published layout, and what is written beside it.

    <video without its extension>_2d.npz    features f16[n, 2048], one row a second
    <video without its extension>_3d.npz    features f16[n, 2048], three rows in two seconds
    <video without its extension>_spec.npz  arr_0 f16[40, T], decibels below its own maximum, 100 a second
    features.json                           the networks, their weights and rates
    manifest.csv                            path,split,label,start_s,end_s, and what else the input manifest says of a clip
    quarantine.jsonl summary.json lock

Each npz also says `origin_s`: where on the file's clock its rows begin, 0 for nearly every file.
"""

import collections
import csv
import math
import os
import posixpath
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.data.inputs import VIDEOS
from avc_jax.data.items.film import DAMAGED
from avc_jax.data.sources import Clip
from avc_jax.train.workdir import Workdir

DESCRIPTION = "features.json"
MANIFEST = "manifest.csv"
LEDGER = "quarantine.jsonl"
SUMMARY = "summary.json"
KEYS = {"2d": "features", "3d": "features", "spec": "arr_0"}
MELS = 40
_OWN_COLUMNS = ("path", "split", "label", "start_s", "end_s")


def stem_of(video: str) -> str:
    """What the names of its features begin with: its path without the extension of a video."""
    stem, extension = os.path.splitext(video)
    return stem if extension.lower() in VIDEOS else video


def path_of(out: Path, video: str, stream: str) -> Path:
    """Where the features of a video lie; `video` is relative to the folder of videos."""
    return out / f"{stem_of(video)}_{stream}.npz"


def is_whole(path: Path, stream: str, width: int) -> bool:
    """Whether a file of features is there, and as long as it says; its numbers are not looked at."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{KEYS[stream]}.npy") as member:
            np.lib.format.read_magic(member)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
            size = archive.getinfo(f"{KEYS[stream]}.npy").file_size - member.tell()
    except DAMAGED:
        return False  # so it is made anew
    if len(shape) != 2:
        return False
    wanted = (MELS, shape[-1]) if stream == "spec" else (shape[0], width)
    return tuple(shape) == wanted and dtype == np.float16 and not fortran and size == 2 * math.prod(shape)


def facts_of(path: Path, stream: str) -> tuple[int, float]:
    """How many rows (2d, 3d) or frames (spec) a whole file holds, and where on the file's clock they begin."""
    with np.load(path, allow_pickle=False) as arrays:
        origin_s = float(arrays["origin_s"]) if "origin_s" in arrays else 0.0
    with zipfile.ZipFile(path) as archive, archive.open(f"{KEYS[stream]}.npy") as member:
        np.lib.format.read_magic(member)
        return np.lib.format.read_array_header_1_0(member)[0][-1 if stream == "spec" else 0], origin_s


def write(path: Path, stream: str, array: np.ndarray, origin_s: float) -> None:
    """Writes features so that a reader sees all of them or none.

    Raises:
      CannotWriteError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            arrays: dict[str, Any] = {KEYS[stream]: array, "origin_s": np.float64(origin_s)}
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise errors.CannotWriteError(f"{path} cannot be written: {error.strerror or error}.") from error


def refuse_other_folder(out: str) -> None:
    """Raises ConfigError if there is something that is no folder of features, before anything is written into it."""
    folder = Path(out)
    if not out or not folder.is_dir() or (folder / DESCRIPTION).is_file():
        return
    others = sorted(one.name for one in folder.iterdir() if one.name not in ("lock", f".{DESCRIPTION}.tmp"))
    if others:
        raise errors.ConfigError(f"--out={out} holds {others[0]} and no {DESCRIPTION}, so it is no folder of features; name "
                                 "another, or a new one.")


def refuse_clashes(videos: Sequence[str]) -> None:
    """Raises DataError where a video's features would lie outside the folder, or where another's lie."""
    names = collections.defaultdict(list)
    for video in videos:
        if posixpath.isabs(video) or video.split("/")[0] == "..":
            raise errors.DataError(f"The manifest names {video}, which is not below the folder of videos; name the folder that "
                                   "holds it with --videos.")
        names[stem_of(video)].append(video)
    for name, clashing in names.items():
        if len(clashing) > 1:
            raise errors.DataError(f"{' and '.join(clashing)} would both have their features in {name}_2d.npz; rename one, or "
                                   "name the videos that are meant in a --manifest.")


def claim(workdir: Workdir, videos: Path, streams: dict[str, dict[str, Any]], versions: dict[str, str]) -> None:
    """Records how features are made, or checks that those in the folder were made so. Streams may be added.

    Args:
      workdir: the folder, which is ours while it is open.
      videos: the folder of videos, where readers find the sounds; it may have moved.
      streams: what to say of each.
      versions: of what makes them; they may change.

    Raises:
      ConfigError: the folder holds features of other networks; the message says what differs.
      CannotWriteError: it cannot be written.
    """
    old = workdir.read(DESCRIPTION).get("streams", {})
    lines = [f"{name}.{key}: was {old[name].get(key)!r}, is {facts.get(key)!r}" for name, facts in streams.items()
             if name in old for key in sorted({*old[name], *facts}) if old[name].get(key) != facts.get(key)]
    if lines:
        raise errors.ConfigError(f"--out={workdir.path} holds other features:\n  " + "\n  ".join(lines) + "\nName another "
                                 "folder, or delete this one to make it anew.")
    workdir.write(DESCRIPTION, {"layout": "howto100m", "videos": str(videos.absolute()), "streams": old | streams,
                                "versions": versions})
    try:
        for path in workdir.path.rglob(".*.npz.tmp"):  # what a kill left
            path.unlink()
        (workdir.path / LEDGER).unlink(missing_ok=True)  # told again
    except OSError as error:
        raise errors.CannotWriteError(f"{workdir.path} cannot be written: {error.strerror}.") from error


def write_manifest(out: Path, clips: Sequence[Clip], rows: Sequence[dict[str, str]], origins: dict[str, float]) -> None:
    """Writes manifest.csv: the clips of the videos that have features.

    Times are seconds from where the rows of features begin, which for nearly every file is the zero of its clock.

    Args:
      out: the folder.
      clips: of the source.
      rows: what the input manifest says of each, for the columns that are not ours.
      origins: path of a video -> where on its clock its rows begin; a video that is not there has no features.

    Raises:
      CannotWriteError: it cannot be written.
    """
    others = [name for name in (rows[0] if rows else ()) if name and name not in (*_OWN_COLUMNS, "fold")]
    temporary = out / f".{MANIFEST}.tmp"
    try:
        with open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow([*_OWN_COLUMNS, *others])
            for clip, row in zip(clips, rows, strict=True):
                if clip.path in origins:
                    times = [_seconds(time_s, origins[clip.path]) for time_s in (clip.start_s, clip.end_s)]
                    writer.writerow([clip.path, clip.split, clip.label, *times, *(row.get(name) or "" for name in others)])
        os.replace(temporary, out / MANIFEST)
    except OSError as error:
        raise errors.CannotWriteError(f"{out / MANIFEST} cannot be written: {error.strerror}.") from error


def _seconds(time_s: float, origin_s: float) -> str:
    return "" if math.isinf(time_s) else repr(round(time_s - origin_s, 6))
