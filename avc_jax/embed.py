"""Embeds media files of any length: vectors with their times, from sounds, videos and images.

    python -m avc_jax.embed --checkpoint=runs/flickr --inputs=SOUNDS --out=vectors.npz
    python -m avc_jax.embed --checkpoint=runs/flickr --inputs='a/*.mp4' --inputs=b.jpg --modality=video --out=vectors.parquet

A file that cannot be read, or not all of it, is told, listed in OUT.failed.csv, and does not stop the others; the exit code is
then 65. Else they are those of avc_jax.main. docs/embed.md says what the times mean and what is in the files.
"""

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from absl import flags

from avc_jax import command, errors, stderr, vectors
from avc_jax.train.guard import Guard

_FLAGS = flags.FlagValues()  # of this command alone, so that others can be imported beside it
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Work directory of a run, or a model folder.", flag_values=_FLAGS)
_INPUTS = flags.DEFINE_multi_string("inputs", [], "A file, a folder (searched recursively) or a glob (** goes down folders); "
                                    "may be given several times.", flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", "", "File to write; an earlier one is replaced.", flag_values=_FLAGS)
_FORMAT = flags.DEFINE_enum("format", None, list(vectors.FORMATS), "Format of the file; by default what its name ends with.",
                            flag_values=_FLAGS)
_MODALITY = flags.DEFINE_enum("modality", "audio", ["audio", "video"], "Embed the sound, or the picture: of videos one frame "
                              "every hop_s, of an image one row.", flag_values=_FLAGS)
_HOP_S = flags.DEFINE_float("hop_s", 0.5, "Seconds from one window to the next.", lower_bound=0.001, flag_values=_FLAGS)
_CENTER = flags.DEFINE_bool("center", False, "The time of a sound is its middle, and half a window of silence goes before the "
                             "first; else it is its start.", flag_values=_FLAGS)
_EMBEDDING_SIZE = flags.DEFINE_integer("embedding_size", 0, "Numbers of a vector, among those the network gives (6144 or 512 in "
                                       "OpenL3); 0: its embedding.", lower_bound=0, flag_values=_FLAGS)
_INPUT_REPR = flags.DEFINE_enum("input_repr", None, ["linear", "mel128", "mel256"], "Refuse a checkpoint with another front end.",
                                flag_values=_FLAGS)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Windows embedded at once; rounded up to a multiple of the devices.",
                                   lower_bound=1, flag_values=_FLAGS)


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    return command.run_with(argv, __name__, _FLAGS, _run)


def _run() -> None:
    from avc_jax.data.inputs import find_inputs

    with Guard() as guard:
        paths = find_inputs(_INPUTS.value, _MODALITY.value)
        with vectors.Output(_OUT.value) as output:
            try:
                _embed(paths, output, guard)
            except errors.Stopped as stopped:
                raise errors.Stopped(f"{stopped} Nothing was written; the same command starts anew.") from None


def _embed(paths: list[str], output: vectors.Output, guard: Guard) -> None:
    # These import JAX, which takes seconds: whatever can be told without is told first.
    from avc_jax import model as models
    from avc_jax.data import windows
    from avc_jax.data.moments import make_format
    from avc_jax.embedder import Embedder, check_input_repr

    model = models.load(_CHECKPOINT.value)
    check_input_repr(model.config, _INPUT_REPR.value)
    embedder = Embedder(model, _MODALITY.value, _EMBEDDING_SIZE.value, _BATCH_SIZE.value)
    steps = windows.Steps(_MODALITY.value, make_format(model.config), _HOP_S.value, _CENTER.value)
    progress, ledger = Progress(len(paths), sys.stderr), Ledger(paths)
    name = _FORMAT.value or Path(_OUT.value).suffix.lstrip(".")
    with output.writing():
        writer = vectors.FORMATS.get(name, vectors.Npz)(output.temporary, paths, embedder.width, _facts(model, embedder, steps))
    blocks = windows.read_files(paths, steps, threads=model.config.data.decode_threads, on_wait=guard.raise_if_stopped)
    for rows in embedder(ledger.listen(blocks, progress)):
        with output.writing():
            writer.add(*rows)
        progress.add(int(rows.file[-1]), len(rows.file))
    guard.raise_if_stopped()
    failures = ledger.failures()
    with output.writing():
        writer.close(failures)
        listed = output.commit(failures)
    progress.say(f"Wrote {progress.rows} vectors of {embedder.width} numbers from {len(paths)} files to {_OUT.value}.")
    if failures:
        raise errors.DataError(f"{len(failures)} of {len(paths)} files could not be read, or not all of them: see {listed}. All "
                               f"that could be read is in {_OUT.value}.")


def _facts(model, embedder, steps) -> dict[str, Any]:
    described = model.describe()
    return {name: described[name] for name in ("made_by", "system", "step", "params_sha256")} | {
        "checkpoint": os.path.abspath(_CHECKPOINT.value), "modality": steps.modality, "output": embedder.output,
        "hop_s": steps.hop_s, "center": steps.lead_s > 0, "window_s": steps.form.window_s, "rate_hz": steps.form.rate_hz}


class Ledger:
    """What could not be read: of each file the first loss, and how many windows in all."""

    def __init__(self, paths: list[str]):
        self._paths = paths
        self._lost: dict[int, tuple[float, errors.BadMedia, int]] = {}

    def listen(self, blocks: Iterable[Any], progress: "Progress") -> Iterator[Any]:
        """Hands blocks on, and tells when a file turns out to be bad."""
        for block in blocks:
            if block.lost:
                known = block.file in self._lost
                time_s, error, count = self._lost.get(block.file, (*block.lost[0], 0))
                self._lost[block.file] = time_s, error, count + len(block.lost)
                if not known:
                    progress.say(f"{self._paths[block.file]}: {error.kind}: {_where(time_s)}{error}")
            yield block

    def failures(self) -> list[vectors.Failure]:
        return [vectors.Failure(self._paths[file], error.kind, f"{_where(time_s, count)}{error}")
                for file, (time_s, error, count) in self._lost.items()]


def _where(time_s: float, count: int = 0) -> str:
    if math.isnan(time_s):
        return ""
    return f"{f'{count} window(s) are missing, the first ' if count else ''}at {time_s:.3f} s: "


class Progress:
    """One line that is rewritten on a terminal; elsewhere a plain line every ten seconds."""

    def __init__(self, files: int, stream: TextIO):
        self._files, self._stream, self._tty = files, stream, stream.isatty()
        self._began = self._shown = time.monotonic()
        self.rows = 0

    def add(self, file: int, rows: int) -> None:
        """Counts rows, the last of which are of a file."""
        self.rows += rows
        now = time.monotonic()
        if now - self._shown >= (0.2 if self._tty else 10.0):
            self._shown = now
            line = (f"embedding: file {file + 1} of {self._files}, {self.rows} windows, "
                    f"{self.rows / (now - self._began):.1f} a second")
            stderr.write(f"\r\x1b[K{line}" if self._tty else line + "\n", self._stream)

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        stderr.say(("\r\x1b[K" if self._tty else "") + text, self._stream)


if __name__ == "__main__":
    command.end(main(sys.argv))
