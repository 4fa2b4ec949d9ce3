"""Lists of clips, and what a work directory says of its run."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import ml_collections
import numpy as np
from fuzz.mutate import Damage, damage

from avc_jax import config as configs
from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data.quarantine import Quarantine
from avc_jax.train.workdir import Workdir, read_json

APART = True
_ROWS = [f"folder/video{number:02d}.mp4,{('train', 'test')[number % 2]},label{number % 5},{number}.25,{number + 10}.5"
         for number in range(30)]
_CLIPS = "0123456789abcdef" * 4


def prepare(folder: Path) -> None:
    (folder / "manifest.csv").write_text("\n".join(["path,split,label,start_s,end_s", *_ROWS]) + "\n")
    quarantine = Quarantine(folder / "quarantine.jsonl", 100, 1.0)
    for number in range(8):
        quarantine.add(f"folder/video{number}.mp4", errors.BadMedia("damaged", f"It is broken in {number} places."))
    workdir = Workdir(str(folder / "run"))
    workdir.claim(_config(), _CLIPS)
    workdir.update_results(train={"step": 3, "params_sha256": _CLIPS}, init={})
    workdir.close()


def check(folder: Path, scratch: Path, number: int, keep: Path | None) -> str:
    rng = np.random.default_rng([6, number])
    name = tuple(_READERS)[int(rng.integers(len(_READERS)))]
    files = {one: (folder / one).read_bytes() for one in _READERS}
    damaged = damage(files[name], rng, list(files.values()))
    (scratch / "run").mkdir(exist_ok=True)
    for one, data in files.items():
        (scratch / one).write_bytes(damaged.data if one == name else data)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{number}-{Path(name).name}").write_bytes(damaged.data)
    _READERS[name](scratch, damaged, files[name])
    return "read"


def _manifest(scratch: Path, damaged: Damage, good: bytes) -> None:
    """Rows that were not touched are as they were."""
    rows = _rows(sources.open_folder(str(scratch), "manifest.csv", (0.8, 0.1, 0.1)))
    if damaged.touched is None:
        return
    expected = _good_rows(scratch, good)
    for line, row in zip(good.splitlines(keepends=True)[1:], expected, strict=True):
        begin = good.index(line)
        near = any(first < begin + len(line) + 1 and last > begin - 1 for first, last in damaged.touched)
        if not near and not any(mark in damaged.data for mark in (b'"', b"\r", b"\0")) and damaged.touched[0][0] > 30:
            assert row in rows, f"{damaged.kind}: {row} is gone"


def _rows(source: sources.Source) -> list[tuple]:
    return [(clip.path, clip.split, clip.label, clip.start_s, clip.end_s) for clip in source.clips]


@functools.cache
def _good_rows(scratch: Path, good: bytes) -> list[tuple]:
    (scratch / "good.csv").write_bytes(good)
    return _rows(sources.open_folder(str(scratch), "good.csv", (0.8, 0.1, 0.1)))


def _ledger(scratch: Path, damaged: Damage, good: bytes) -> None:
    quarantine = Quarantine(scratch / "quarantine.jsonl", 100, 1.0)
    quarantine.add("new.mp4", errors.BadMedia("silent", "No sound."))
    assert Quarantine(scratch / "quarantine.jsonl", 100, 1.0).reasons["new.mp4"] == ("silent", "No sound.")
    quarantine.check()


def _claim(scratch: Path, damaged: Damage, good: bytes) -> None:
    """A run goes on with what it was started with, or not at all."""
    workdir = Workdir(str(scratch / "run"))
    try:
        workdir.claim(_config(), _CLIPS)
    finally:
        workdir.close()
    assert read_json(scratch / "run" / "data.json")["clips_sha256"] == _CLIPS
    assert read_json(scratch / "run" / "config.json") == _described()


def _results(scratch: Path, damaged: Damage, good: bytes) -> None:
    workdir = Workdir(str(scratch / "run"))
    try:
        workdir.update_evaluation("avc", {"accuracy": 0.5})
        assert workdir.read("results.json")["evaluate"]["avc"] == {"accuracy": 0.5}
    finally:
        workdir.close()


@functools.cache
def _config() -> ml_collections.ConfigDict:
    return configs.default("l3net")


@functools.cache
def _described() -> dict:
    return json.loads(json.dumps(configs.to_dict(_config())))


_READERS: dict[str, Callable[[Path, Damage, bytes], None]] = {
    "manifest.csv": _manifest, "quarantine.jsonl": _ledger, "run/config.json": _claim, "run/data.json": _claim,
    "run/results.json": _results}
