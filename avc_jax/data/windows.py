"""Media files as windows at equal steps: sounds of one length, or frames, each with its time, read in blocks.

A block is a function of its file and its times alone: windows are cut and resampled one by one, as in training, so there is no
seam between blocks. Many are read at once, of one long file as well as of many short ones, and they come in order.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np

from avc_jax.data import processes, still
from avc_jax.data.clock import EDGE_S
from avc_jax.data.decode import MediaFile, Span
from avc_jax.data.moments import Format
from avc_jax.errors import BadMedia

_WINDOWS = 64  # of a block: about 6 MB of sound at 48 kHz, 10 MB of frames.
_POLL_S = 0.2


@dataclasses.dataclass(frozen=True)
class Steps:
    """How files are cut into windows.

    Attributes:
      modality: audio, or video (images are videos of one frame).
      form: of a window.
      hop_s: seconds from one window to the next.
      center: the time of a sound is its middle, and the first one begins half a window before the track; else a sound's time
        is its start. A frame has a time of its own.
    """

    modality: str
    form: Format
    hop_s: float
    center: bool = False

    @property
    def lead_s(self) -> float:
        """Seconds from the start of a window to its time."""
        return self.form.window_s / 2 if self.center and self.modality == "audio" else 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a window."""
        return (self.form.samples,) if self.modality == "audio" else (self.form.size, self.form.size, 3)

    @property
    def dtype(self) -> type:
        return np.int16 if self.modality == "audio" else np.uint8

    def times(self, span: Span) -> np.ndarray:
        """float64[n]: the times of the windows that together hold all of a span, as in OpenL3.

        The last sound may reach over the end, and the only one of a span that is shorter than a window does; zeros are
        there then. A frame stands for the hop that follows it.
        """
        overlap_s = max(0.0, self.form.window_s - self.hop_s) if self.modality == "audio" else 0.0
        length_s = span.end_s - span.start_s + self.lead_s - EDGE_S
        return span.start_s + np.arange(max(1, math.ceil((length_s - overlap_s) / self.hop_s))) * self.hop_s


class Block(NamedTuple):
    """Consecutive windows of one file.

    Attributes:
      file: its place in the list of files.
      time_s: float64[n], seconds on the file's clock.
      values: int16[n, samples] or uint8[n, size, size, 3].
      lost: (time, why) of windows that cannot be read; the time is nan where that is all of the file.
    """

    file: int
    time_s: np.ndarray
    values: np.ndarray
    lost: list[tuple[float, BadMedia]]


def read_files(paths: Sequence[str], steps: Steps, *, threads: int = 0,
               on_wait: Callable[[], None] = lambda: None) -> Iterator[Block]:
    """The windows of files, in the order of files and times. Memory grows with `threads`, not with the files' lengths.

    Args:
      paths: media files, and images where the modality is video.
      steps: which windows.
      threads: blocks read at once; 0: one per core. PyAV and Pillow release the interpreter's lock while they decode.
      on_wait: called several times a second while waiting; it may raise to end the wait.
    """
    threads = threads or processes.count_cores()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="windows")
    try:
        plans = in_order(pool, lambda path: _plan(path, steps), paths, threads, on_wait)
        yield from in_order(pool, lambda job: _read(paths, job[0], job[1], steps), _jobs(plans), threads + 1, on_wait)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def cut_array(times_s: np.ndarray, steps: Steps, cut: Callable[[list[float]], np.ndarray]) -> Iterator[Block]:
    """The windows of one sound that is no file, by blocks: `cut` gives those that start at some times."""
    for times in _pieces(times_s):
        yield Block(0, times, cut((times - steps.lead_s).tolist()), [])


def in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int, on_wait: Callable[[], None]) -> Iterator:
    """function(item) of each item, in order; at most `ahead` are under way or finished and waiting."""
    pending: collections.deque[Future] = collections.deque()
    for item in items:
        if len(pending) >= ahead:
            yield _result(pending.popleft(), on_wait)
        pending.append(pool.submit(function, item))
    while pending:
        yield _result(pending.popleft(), on_wait)


def _result(future: Future, on_wait: Callable[[], None]):
    # A signal handler runs only when the main thread comes back to Python.
    on_wait()
    while not wait([future], _POLL_S).done:
        on_wait()
    return future.result()


def _plan(path: str, steps: Steps) -> np.ndarray | BadMedia:
    """The times of a file's windows, or why it has none."""
    if steps.modality == "video" and still.is_still(path):
        return np.zeros(1)
    try:
        with _open(path, steps) as media:
            # Headers may be wrong by any length, and what they hide would be missed without a word.
            return steps.times(media.measure())
    except BadMedia as error:
        return error


def _jobs(plans: Iterable[np.ndarray | BadMedia]) -> Iterator[tuple[int, np.ndarray | BadMedia]]:
    for file, plan in enumerate(plans):
        for piece in [plan] if isinstance(plan, BadMedia) else _pieces(plan):
            yield file, piece


def _pieces(times_s: np.ndarray) -> Iterator[np.ndarray]:
    return (times_s[place : place + _WINDOWS] for place in range(0, len(times_s), _WINDOWS))


def _read(paths: Sequence[str], file: int, times_s: np.ndarray | BadMedia, steps: Steps) -> Block:
    if isinstance(times_s, BadMedia):
        return Block(file, np.zeros(0), np.zeros((0, *steps.shape), steps.dtype), [(math.nan, times_s)])
    found = _values(paths[file], times_s, steps)
    good = np.array([not isinstance(value, BadMedia) for value in found])
    lost = [(time, value) for time, value in zip(times_s.tolist(), found, strict=True) if isinstance(value, BadMedia)]
    values = [value for value in found if not isinstance(value, BadMedia)]
    return Block(file, times_s[good], np.array(values, steps.dtype).reshape(-1, *steps.shape), lost)


def _values(path: str, times_s: np.ndarray, steps: Steps) -> list[np.ndarray | BadMedia]:
    form = steps.form
    try:
        if steps.modality == "video" and still.is_still(path):
            return [still.read_crop(path, form.short_side, form.size)]
        # Opened anew for each block, as what a decoder makes up (the noise of AAC) depends on what it decoded before.
        with _open(path, steps) as media:
            if steps.modality == "audio":
                return _each(lambda times: media.sounds((times - steps.lead_s).tolist(), form.window_s, form.rate_hz, pad=True),
                             times_s)
            return _each(lambda times: media.crops(times.tolist(), np.full((len(times), 2), 0.5), form.short_side, form.size),
                         times_s)
    except BadMedia as error:
        return [error] * len(times_s)


def _open(path: str, steps: Steps) -> MediaFile:
    return MediaFile(path, video=steps.modality == "video", audio=steps.modality == "audio")


def _each(get: Callable[[np.ndarray], np.ndarray], times_s: np.ndarray) -> list[np.ndarray | BadMedia]:
    """What `get` gives of each time; where it fails for many, of fewer and fewer, so that only the bad ones are lost."""
    try:
        return list(get(times_s))
    except BadMedia as error:
        if len(times_s) == 1:
            return [error]
        return list(itertools.chain(*(_each(get, half) for half in np.array_split(times_s, 2))))
