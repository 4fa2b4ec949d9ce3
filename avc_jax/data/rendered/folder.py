"""Renders a folder of clips: files, manifest, progress, resuming, and the processes that do the work."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import stderr
from avc_jax.data import processes
from avc_jax.data.rendered.classes import NAMES
from avc_jax.data.rendered.clips import (
    VERSION,
    Recipe,
    is_whole,
    label_of,
    render_clip,
    split_of,
    write_clip,
)
from avc_jax.errors import CannotWriteError, ConfigError

_CHUNK = 8  # clips per task: small enough for a moving progress line and a quick stop
# (recipe, index) -> frames and sound of a clip; of a module, so that other processes find it.
Render = Callable[[Any, int], tuple[np.ndarray, np.ndarray]]


def clip_path(index: int) -> str:
    """Where a clip lies, relative to the folder's root."""
    return f"videos/{index:06d}.mp4"


def render_folder(root: str | os.PathLike, *, num_clips: int, seed: int = 0, size: tuple[int, int] = (80, 72),
                  seconds: float = 3.0, fps: float = 12.5, rate_hz: int = 16_000,
                  workers: int | None = None) -> None:
    """Renders `num_clips` clips and their `manifest.csv` (path,split,label) into `root`.

    Whole files of the same recipe are kept, so the call is idempotent, resumes after an interruption, and
    extends a folder when `num_clips` grows. One call at a time per folder.

    Args:
      root: folder, made where it does not exist.
      num_clips: at least two rounds of all classes, so that both splits have them all.
      seed: with the clip's index fixes everything in a clip.
      size: (width, height) in pixels, even.
      seconds: length of each clip.
      fps: frames per second.
      rate_hz: samples per second of the mono sound.
      workers: processes; all cores that this process may use if None; 0 renders in this process.

    Raises:
      ConfigError: bad arguments, or a folder that holds clips of another recipe.
      CannotWriteError: the folder cannot be written.
    """
    recipe = Recipe(seed=int(seed), size=(int(size[0]), int(size[1])), seconds=float(seconds), fps=float(fps),
                    rate_hz=int(rate_hz))
    recipe.check()
    if num_clips < 2 * len(NAMES):
        raise ConfigError(f"num_clips is {num_clips}; at least {2 * len(NAMES)} are needed for both splits "
                          f"to hold all {len(NAMES)} classes")
    rows = [(clip_path(i), split_of(i), label_of(recipe, i)) for i in range(num_clips)]
    fill_folder(Path(root), recipe, render_clip, {"version": VERSION, "classes": list(NAMES)},
                [("path", "split", "label"), *rows], workers)


def fill_folder(root: Path, recipe: Recipe, render: Render, facts: dict[str, Any], manifest: Sequence[Sequence[str]],
                workers: int | None) -> None:
    """Renders the clips of a manifest into `root`, but for the whole files of the same recipe that are there.

    Args:
      root: folder, made where it does not exist.
      recipe: what fixes every clip, checked.
      render: makes clip i, which goes to `clip_path(i)`.
      facts: JSON values that fix the clips beside the recipe.
      manifest: rows of manifest.csv, the first of which names the columns; a clip for each of the others.
      workers: processes; all cores that this process may use if None; 0 renders in this process.

    Raises:
      ConfigError: the folder holds clips of another recipe.
      CannotWriteError: the folder cannot be written.
    """
    num_clips = len(manifest) - 1
    try:
        (root / "videos").mkdir(parents=True, exist_ok=True)
        _claim(root, recipe, facts)
        missing = [i for i in range(num_clips) if not is_whole(root / clip_path(i), recipe)]
        _render_all(root, recipe, render, missing, num_clips, workers)
        _write_atomically(root / "manifest.csv", _as_csv(manifest))
    except OSError as error:
        raise CannotWriteError(f"cannot write the rendered clips to {root}: {error}") from error


def _claim(root: Path, recipe: Recipe, facts: dict[str, Any]) -> None:
    """Writes recipe.json, or checks that the one there is the same."""
    path = root / "recipe.json"
    asked = json.loads(json.dumps({**facts, **dataclasses.asdict(recipe)}))
    if not path.exists():
        if any((root / "videos").glob("*.mp4")):
            raise ConfigError(f"{root} has videos but no recipe.json, so it is not known how they were made; "
                              "name an empty folder")
        _write_atomically(path, json.dumps(asked, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is not a recipe; name another folder, or delete this one")
    changed = [f"{key} is {found.get(key)!r} there and {asked.get(key)!r} here"
               for key in sorted({*found, *asked}) if found.get(key) != asked.get(key)]
    if changed:
        raise ConfigError(f"{root} holds clips of another recipe ({'; '.join(changed)}); name another "
                          "folder, or delete this one to render it anew")


def _as_csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write_atomically(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)


def _render_chunk(root: Path, recipe: Recipe, render: Render, indices: Sequence[int]) -> int:
    """Renders some clips, each under a hidden name first, so that a clip's file is always whole."""
    for index in indices:
        path = root / clip_path(index)
        part = path.with_name(f".{path.name}.part")
        write_clip(part, *render(recipe, index), recipe)
        part.replace(path)
    return len(indices)


def _render_all(root: Path, recipe: Recipe, render: Render, missing: list[int], num_clips: int, workers: int | None) -> None:
    """Renders the missing clips on `workers` processes, with progress."""
    progress = _Progress(len(missing), kept=num_clips - len(missing))
    chunks = [missing[i:i + _CHUNK] for i in range(0, len(missing), _CHUNK)]
    if workers is None:
        workers = processes.count_cores()
    if workers < 1 or len(chunks) <= 1:
        for chunk in chunks:
            progress.add(_render_chunk(root, recipe, render, chunk))
    else:
        pool = processes.make_pool(min(workers, len(chunks)))
        try:
            with processes.without_main():
                tasks = [pool.submit(_render_chunk, root, recipe, render, chunk) for chunk in chunks]
            for task in as_completed(tasks):
                progress.add(task.result())
        finally:
            pool.shutdown(cancel_futures=True)
    progress.end()


class _Progress:
    """One line on stderr that is rewritten on a terminal; elsewhere a plain line every ten seconds."""

    def __init__(self, total: int, kept: int):
        self._total, self._kept, self._done = total, kept, 0
        self._tty = sys.stderr.isatty()
        self._start = self._shown = time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._shown < (0.2 if self._tty else 10.0):
            return
        self._shown = now
        left = (now - self._start) * (self._total - self._done) / self._done
        line = f"rendering clips: {self._done} of {self._total}, {left:.0f} s left"
        stderr.write(f"\r{line}   " if self._tty else f"{line}\n")

    def end(self) -> None:
        took = time.monotonic() - self._start
        kept = f" ({self._kept} were there)" if self._kept else ""
        line = f"rendered {self._done} clips in {took:.1f} s{kept}"
        stderr.say(f"\r{line:<50}" if self._tty else line)
