"""A folder of videos into a folder of features: whole files are kept, bad videos are told, and the manifest comes last."""

import collections
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from avc_jax import errors, stderr
from avc_jax.data import decoders, processes
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.sources import Source
from avc_jax.data.windows import in_order
from avc_jax.train.guard import Guard
from avc_jax.train.workdir import Workdir
from avc_jax.visual import folder, reading
from avc_jax.visual.batches import Batches, Tag
from avc_jax.visual.grid import Grid
from avc_jax.visual.networks import Stream

Spectrogram = Callable[[np.ndarray], np.ndarray]  # int16[n] -> f16[40, T]
_apart = partial(decoders.call, limit_s=decoders.WHOLE_S)


@dataclasses.dataclass
class Video:
    """A video on its way.

    Attributes:
      path: relative to the folder of videos.
      missing: the streams that are to be made.
      grid: its rows, once they are known.
      rows: stream -> f16[n, D], or f16[40, T] of spec.
      waiting: rows and sounds that are not there yet.
    """

    path: str
    missing: tuple[str, ...]
    grid: Grid | None = None
    rows: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    waiting: int = 0


class _Job(NamedTuple):
    """Something to read: what it is of which video, and how."""

    video: int
    what: str  # grid, block or sound
    read: Callable[[], Any]


class _Result(NamedTuple):
    job: _Job
    value: Any  # or the BadMedia


class Maker:
    """Makes the features of some videos."""

    def __init__(self, root: Path, workdir: Workdir, streams: dict[str, tuple[Stream, Any]], spectrogram: Spectrogram | None, *,
                 batch_size: int, workers: int, ledger: Quarantine, guard: Guard, progress: "Progress"):
        """
        Args:
          root: the folder of videos.
          workdir: the folder of features.
          streams: name -> the stream and its variables.
          spectrogram: makes those of sounds; None: none are made.
          batch_size: rows computed at once.
          workers: processes that decode; 0: one per core.
          ledger: of bad videos.
          guard: says when to stop.
          progress: is told what is done.
        """
        self._root, self._out = root, workdir.path
        self._batches = Batches(streams, batch_size)
        self._widths = {name: stream.width for name, (stream, _) in streams.items()}
        self._spectrogram, self._workers, self._ledger = spectrogram, workers or processes.count_cores(), ledger
        self._guard, self._progress = guard, progress
        self._videos: list[Video] = []
        self.without_sound: dict[str, str] = {}  # path -> why

    def missing(self, path: str) -> tuple[str, ...]:
        """The streams of a video that are not there, or not whole."""
        wanted = [*self._widths, *(["spec"] if self._spectrogram else [])]
        return tuple(name for name in wanted
                     if not folder.is_whole(folder.path_of(self._out, path, name), name, self._widths.get(name, 0)))

    def make(self, paths: Sequence[str]) -> None:
        """Makes what is missing of the features of videos.

        Raises:
          DataError: too many of them are bad.
          CannotWriteError: the folder cannot be written.
          Stopped: by a signal. Features of finished videos stay.
        """
        self._videos = [video for video in (Video(path, self.missing(path)) for path in paths) if video.missing]
        self._progress.begin(len(paths) - len(self._videos), len(self._videos))
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="features")
        try:
            grids = in_order(pool, _read, self._grids(), self._workers, self._guard.raise_if_stopped)
            for result in in_order(pool, _read, self._jobs(grids), self._workers + 1, self._guard.raise_if_stopped):
                self._take(result)
            for tag, row in self._batches.finish():
                self._keep(tag, row)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _grids(self) -> Iterator[_Job]:
        for place, video in enumerate(self._videos):
            yield _Job(place, "grid", partial(_apart, reading.measure, self._root / video.path))

    def _jobs(self, grids: Iterator[_Result]) -> Iterator[_Job]:
        """First the grid of each video, as a job that is done, and then its blocks and its sound."""
        for result in grids:
            place, grid = result.job.video, result.value
            video = self._videos[place]
            yield result.job._replace(read=partial(_known, grid))
            if isinstance(grid, errors.BadMedia):
                continue
            pictures = tuple(name for name in video.missing if name != "spec")
            for block in grid.blocks() if pictures else ():
                yield _Job(place, "block", partial(_apart, reading.read_block, self._root / video.path, block, pictures))
            if "spec" in video.missing:
                yield _Job(place, "sound", partial(_apart, reading.read_sound, self._root / video.path, grid))

    def _take(self, result: _Result) -> None:
        """What became of a job."""
        video, value = self._videos[result.job.video], result.value
        if video.grid is None and result.job.what != "grid":
            return  # it is bad, as an earlier block has said
        if isinstance(value, errors.BadMedia):
            if result.job.what == "sound":
                self.without_sound[video.path] = f"{value.kind}: {value}"
                self._done(video, 1)
            else:
                self._drop(video, value)
        elif result.job.what == "grid":
            self._begin(video, value)
        elif result.job.what == "sound":
            assert self._spectrogram is not None
            video.rows["spec"] = self._spectrogram(value)
            self._done(video, 1)
        else:
            self._compute(result.job.video, value)

    def _begin(self, video: Video, grid: Grid) -> None:
        video.grid = grid
        counts = {"2d": grid.rows_2d, "3d": grid.rows_3d}
        for name in video.missing:
            if name != "spec":
                video.rows[name] = np.zeros((counts[name], self._widths[name]), np.float16)
            video.waiting += counts.get(name, 1)

    def _compute(self, place: int, found: dict[str, reading.Rows]) -> None:
        for name, rows in found.items():
            for row, pictures in enumerate(rows.values, start=rows.first):
                if pictures is None:  # the row stays zero, and so wins no maximum: features are not negative
                    self._done(self._videos[place], 1)
                    continue
                for finished in self._batches.add(Tag(place, name, row), pictures):
                    self._keep(*finished)

    def _keep(self, tag: Tag, row: np.ndarray) -> None:
        video = self._videos[tag.video]
        if video.grid is not None:  # else it turned out to be bad meanwhile
            video.rows[tag.stream][tag.row] = row
            self._done(video, 1)

    def _done(self, video: Video, count: int) -> None:
        """Counts what a video was waiting for, and writes what was the last."""
        video.waiting -= count
        if video.waiting:
            return
        assert video.grid is not None
        for name, rows in video.rows.items():
            folder.write(folder.path_of(self._out, video.path, name), name, rows, video.grid.origin_s)
        self._progress.add(video.grid.span.end_s - video.grid.span.start_s)
        video.rows = {}

    def _drop(self, video: Video, error: errors.BadMedia) -> None:
        video.grid, video.rows = None, {}
        self._progress.say(f"{video.path}: {error.kind}: {error}")
        self._progress.add(0.0)
        self._ledger.add(video.path, error)


def _read(job: _Job) -> _Result:
    try:
        return _Result(job, job.read())
    except errors.BadMedia as error:
        return _Result(job, error)


def _known(value: Any) -> Any:
    return value


def finish(source: Source, rows: Sequence[dict[str, str]], workdir: Workdir, maker: Maker, ledger: Quarantine) -> dict[str, Any]:
    """Writes manifest.csv and summary.json, and returns what the latter says.

    Args:
      source: of the videos.
      rows: what the input manifest says of each of the source's clips.
      workdir: the folder of features.
      maker: has made them.
      ledger: of bad videos.

    Raises:
      DataError: there is not one good video.
      CannotWriteError: the folder cannot be written.
    """
    paths = sorted({clip.path for clip in source.clips})
    counts: collections.Counter[str] = collections.Counter()
    origins = {}
    for path in paths:
        if path in ledger.reasons:
            continue
        for name in folder.KEYS:
            file = folder.path_of(workdir.path, path, name)
            if file.exists():
                number, origins[path] = folder.facts_of(file, name)
                counts[name] += number
    if not origins:
        raise errors.DataError(f"Not one of the {len(paths)} videos of {source.root} can be used; see "
                               f"{workdir.path / folder.LEDGER}.")
    folder.write_manifest(workdir.path, source.clips, rows, origins)
    summary = {"videos": len(origins), "clips": sum(clip.path in origins for clip in source.clips), "rows": dict(counts),
               "bad": dict(sorted(collections.Counter(kind for kind, _ in ledger.reasons.values()).items())),
               "without_sound": dict(sorted(maker.without_sound.items()))}
    workdir.write(folder.SUMMARY, summary)
    return summary


def summary_text(summary: dict[str, Any]) -> str:
    """The summary in lines for people."""
    bad = summary["bad"]
    reasons = ", ".join(f"{count} {kind}" for kind, count in bad.items())
    rows = ", ".join(f"{count} of {name}" for name, count in sorted(summary["rows"].items()))
    lines = [f"Features of {summary['videos']} videos ({summary['clips']} clips). Rows: {rows}.",
             f"Bad: {sum(bad.values())}{f' ({reasons})' if reasons else ''}."]
    if summary["without_sound"]:
        lines.append(f"Without a spectrogram, as they have no usable sound: {len(summary['without_sound'])}.")
    return "\n".join(lines)


class Progress:
    """One line that is rewritten on a terminal; elsewhere a plain line every ten seconds."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._tty = self._stream.isatty()
        self._kept = self._videos = self._done = 0
        self._media_s = 0.0
        self._began = self._shown = time.monotonic()

    def begin(self, kept: int, videos: int) -> None:
        """There are features of `kept` videos, and `videos` are to be done."""
        self._kept, self._videos = kept, videos
        self._began = self._shown = time.monotonic()

    def add(self, media_s: float) -> None:
        """Counts a video of some seconds."""
        self._done += 1
        self._media_s += media_s
        now = time.monotonic()
        if now - self._shown < (0.2 if self._tty else 10.0):
            return
        self._shown, passed_s = now, now - self._began
        line = (f"features: {self._done} of {self._videos} videos, {self._media_s / passed_s:.1f} seconds of video a second, "
                f"{passed_s * (self._videos - self._done) / self._done:.0f} s left")
        stderr.write(f"\r\x1b[K{line}" if self._tty else line + "\n", self._stream)

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        stderr.say(("\r\x1b[K" if self._tty else "") + text, self._stream)

    def end(self) -> None:
        """Prints what was done."""
        self.say(f"made the features of {self._done} videos ({self._kept} were there), {self._media_s / 60:.1f} minutes, in "
                 f"{time.monotonic() - self._began:.0f} s")
