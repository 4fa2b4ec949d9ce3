"""Records, read as training reads them: a damaged shard, table, index, recipe or digest.

Every part has a checksum, so whatever is read has to be what the good files give, bit for bit.
"""

import functools
import io
import os
from pathlib import Path

import ml_collections
import numpy as np
import tiny
from fuzz.mutate import damage

from avc_jax import config as configs
from avc_jax.data import sources
from avc_jax.data.moments import Format, Request
from avc_jax.data.records import layout, make
from avc_jax.data.records.source import open_records
from avc_jax.train.guard import Guard
from avc_jax.train.workdir import Workdir

APART = True
_RECIPE = layout.Recipe(fps=5.0, short_side=32, rate_hz=8000, window_s=0.5, clips_per_shard=2, split_fractions=(1.0, 0.0, 0.0))
_FORM = Format(short_side=32, size=24, window_s=0.5, rate_hz=8000)
_CLIPS = 4


def prepare(folder: Path) -> None:
    videos = folder.with_name("videos")
    videos.mkdir(exist_ok=True)
    for number in range(_CLIPS):
        tiny.write_video(videos / f"{number}.mp4", number)
    source = sources.open_folder(str(videos), "", _RECIPE.split_fractions)
    workdir = Workdir(str(folder), flag="--out")
    with Guard() as guard:
        make.make_records(source, workdir, _RECIPE, guard, workers=1, stream=io.StringIO())
    workdir.close()


def check(folder: Path, scratch: Path, number: int, keep: Path | None) -> str:
    rng = np.random.default_rng([2, number])
    files = files_of(folder)
    # Half of the inputs have a damaged shard; the others are small, and soon worn out.
    shards = [name for name in files if "array_record" in name and not name.startswith("shards/")]
    chosen = shards if rng.random() < 0.5 else [name for name in files if name not in shards]
    name = chosen[int(rng.integers(len(chosen)))]
    good = files[name]
    damaged = damage(good, rng, [files[one] for one in shards])
    put(files, folder, scratch, {name: damaged.data}, keep, number)
    found = _read(scratch)
    expected = _baseline(folder)
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one is None or one == other, f"clip {place} is read with other content after {damaged.kind} of {name}"
    return "read" if None not in found else "quarantined"


@functools.cache
def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in ("lock", "quarantine.jsonl")}


def put(files: dict[str, bytes], folder: Path, scratch: Path, damaged: dict[str, bytes], keep: Path | None, number: int) -> None:
    """Makes `scratch` a folder with these files, of which some are damaged."""
    for name in files:
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in damaged:
            path.unlink(missing_ok=True)
            path.write_bytes(damaged[name])
        elif not path.is_symlink():
            path.unlink(missing_ok=True)
            os.symlink(folder / name, path)
    if keep is not None:
        for name, data in damaged.items():
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{number}-{Path(name).name}").write_bytes(data)


@functools.cache
def _baseline(folder: Path):
    found = _read(folder)
    assert None not in found
    return found


def _read(folder: Path) -> list[tuple | None]:
    """Of each clip all that two moments give, or None where it is refused."""
    source = open_records(_config(str(folder)))
    rng = np.random.default_rng(0)
    shape = (_CLIPS, 2)
    every = np.ones(shape, bool)
    request = Request(np.arange(_CLIPS), rng.random((*shape, 2)), rng.random((*shape, 2)), every, every, every,
                      np.arange(2 * _CLIPS).reshape(shape), np.zeros((2 * _CLIPS, _FORM.samples), np.int16))
    found = source.read(request, _FORM)
    frames = iter(found.frames)
    clips = [source.clips[place] for place in range(_CLIPS)]
    return [None if place in found.bad else
            (clips[place], next(frames), next(frames), request.waveform[2 * place : 2 * place + 2].tobytes(),
             found.frame_s[place].tobytes(), found.sound_s[place].tobytes()) for place in range(_CLIPS)]


@functools.cache
def _config(root: str) -> ml_collections.ConfigDict:
    tree = configs.default("l3net")
    tree.data.update(source="records", root=root, split_fractions=(1.0, 0.0, 0.0), frame_short_side=32, frame_size=24,
                     window_s=0.5, patience_s=0.0)
    tree.audio.rate_hz = 8000
    return tree
