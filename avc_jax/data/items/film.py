"""An item that is open: its tracks, each read when it is asked for first. Belongs to one thread."""

import functools
import math
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avc_jax import errors
from avc_jax.data import decoders, limits
from avc_jax.data.decode import Span
from avc_jax.data.items import windows
from avc_jax.data.items.source import RATES_HZ, Item, ItemSource

_LATE_S = 0.5  # A clock that begins this far from 0 does not mean 0.
# What reading a damaged .npz raises; each becomes BadMedia, or the file is made anew. NotImplementedError is zipfile's, of a
# compression that it does not know. The last three are NumPy's, of a header that describes no array, or is no Python: it is read
# before the checksum of what it is in.
DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError,
           TypeError, SyntaxError, tokenize.TokenError)
# NumPy reads the header of an array with ast.literal_eval, which in CPython 3.11 fails at times where two threads do so at once
# (SystemError: AST constructor recursion depth mismatch). The array itself is read without the lock.
_parsing = threading.Lock()


class Film:
    """The tracks of an item. What they cannot give raises BadMedia."""

    def __init__(self, source: ItemSource, item: Item, clock: str):
        """
        Args:
          source, item: which.
          clock: what says how long it is: waveform, spectrogram or rows (of features).
        """
        self._source, self.item, self._clock = source, item, clock
        self._rows: dict[str, np.ndarray] = {}
        self._said_origin_s: float | None = None

    # Sound ----------------------------------------------------------------------------------------------------------------

    @property
    def frames(self) -> int:
        """How long it is, in frames of a spectrogram."""
        if self._clock == "waveform":
            span = self.media.span
            return 1 + max(0, int(windows.FRAMES_PER_S * (span.end_s - self._origin_s(span)) + 1e-6))
        if self._clock == "spectrogram" and self.spectrogram is not None:
            return self.spectrogram.shape[1]
        return max((round(windows.FRAMES_PER_S * len(self.rows(name)) / RATES_HZ[name]) for name in self._source.streams),
                   default=0)

    def check(self) -> None:
        """Raises BadMedia if it has ended where the item begins."""
        begin, length = self.item.start_s, self.frames if self.item.start_s > 0 else 0
        if length and windows.FRAMES_PER_S * begin >= length:
            raise errors.BadMedia("too_short", f"It ends after {length / windows.FRAMES_PER_S:.2f} s, and the clip begins at "
                                               f"{begin:g} s.")

    @functools.cached_property
    def spectrogram(self) -> np.ndarray | None:
        """float[bands, frames] as it is stored; None where there is no sound."""
        if self.item.silent:
            return None
        if self.item.arrays is not None:
            return self.item.arrays.get("spectrogram")
        found, _ = read_npz(self._source.root / f"{self.item.stem}_spec.npz", "arr_0")
        if found.ndim != 2:
            raise errors.BadMedia("wrong_shape", f"{self.item.stem}_spec.npz: found {found.ndim} axes, expected bands and "
                                                 "frames.")
        return found

    @property
    def image(self) -> Path:
        """Where its picture lies."""
        return self._source.root / self.item.image

    @functools.cached_property
    def media(self) -> decoders.Sound:
        """The sound of its media file."""
        return decoders.Sound(self._source.media / self.item.path)

    def _origin_s(self, span: Span) -> float:
        """Where on the clock of its media file the film begins: where its features say, if avc_jax.features has made them; else
        at 0, unless the clock begins elsewhere, as those of transport streams do."""
        if self._source.streams and self.item.arrays is None:
            self.rows(self._source.streams[0])
        if self._said_origin_s is not None:
            return self._said_origin_s
        return span.start_s if abs(span.start_s) > _LATE_S else 0.0

    def waveforms(self, taken: Sequence[windows.Window], samples: int, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
        """The sounds of windows: int16[n, samples], zeros after their end; and how many samples of each are real, int32[n]."""
        try:
            return self._waveforms(self.media.span, taken, samples, rate_hz)
        except errors.BadMedia as error:
            if error.kind != "incomplete":
                raise
        return self._waveforms(self.media.measure(), taken, samples, rate_hz)  # the headers promised too much

    def _waveforms(self, span: Span, taken: Sequence[windows.Window], samples: int,
                   rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
        window_s, origin_s = samples / rate_hz, self._origin_s(span)
        starts = np.array([origin_s + max(0.0, window.sound_start_s) for window in taken])
        ends = np.array([min(span.end_s, origin_s + window.sound_end_s, start + window_s)
                         for window, start in zip(taken, starts, strict=True)])
        out, lengths = np.zeros((len(taken), samples), np.int16), np.zeros(len(taken), np.int32)
        full = (starts >= span.start_s) & (ends - starts > window_s - 0.5 / rate_hz)
        if full.any():
            out[full], lengths[full] = self.media.sounds(starts[full].tolist(), window_s, rate_hz), samples
        for row in np.flatnonzero(~full & (ends - starts > 1 / rate_hz)):
            first_s, sound = self.media.stretch(float(starts[row]), float(ends[row]), rate_hz)
            place = max(0, round((first_s - starts[row]) * rate_hz))
            sound = sound[: samples - place]
            out[row, place : place + len(sound)], lengths[row] = sound, place + len(sound)
        return out, lengths

    # Picture --------------------------------------------------------------------------------------------------------------

    def rows(self, stream: str) -> np.ndarray:
        """float[n, D]: the features of a stream, RATES_HZ of them a second."""
        if self.item.arrays is not None:
            return self.item.arrays.get(stream, np.zeros((0, 0), np.float32))
        if stream not in self._rows:
            name = f"{self.item.stem}_{stream}.npz"
            found, origin_s = read_npz(self._source.root / name, "features")
            if found.ndim != 2:
                raise errors.BadMedia("wrong_shape", f"{name}: found {found.ndim} axes, expected rows of features.")
            self._rows[stream] = found
            self._said_origin_s = origin_s if self._said_origin_s is None else self._said_origin_s
        return self._rows[stream]

    def pooled(self, stream: str, window: windows.Window, width: int) -> tuple[np.ndarray, int]:
        """float32[width], the maximum over the rows of a window, of unit length; and how many rows these are. Zeros of none."""
        rows = self.rows(stream)
        if rows.shape[1] != width and len(rows):
            raise errors.BadMedia("wrong_width", f"{self.item.stem}, {stream}: found rows of {rows.shape[1]} numbers, expected "
                                                 f"{width} (what the system takes, over the streams of config.data.streams).")
        begin, end = windows.feature_rows(window, RATES_HZ[stream], len(rows))
        if end == begin:
            return np.zeros(width, np.float32), 0
        most = rows[begin:end].astype(np.float32).max(axis=0)
        if not np.isfinite(most).all():
            raise errors.BadMedia("damaged", f"{self.item.stem}, {stream}: it holds numbers that are not finite.")
        return most / max(float(np.linalg.norm(most)), 1e-12), end - begin

    # Windows --------------------------------------------------------------------------------------------------------------

    def whole(self, text_draw: float | None) -> windows.Window:
        """All of it; of several texts of the whole the one that is drawn, or (None) what evaluation reads."""
        begin, end = max(0.0, self.item.start_s), self.item.end_s
        said = self.item.captions
        if text_draw is None and self.item.text:
            text = self.item.text
        elif len(said) and not said.are_timed:
            text = said.texts[min(int((text_draw or 0.0) * len(said)), len(said) - 1)]
        else:
            text = said.within(begin, end)
        return windows.Window(begin, end, begin, end, text)

    def random(self, draw: float, frames: int) -> windows.Window:
        """A window of so many frames that begins at a random second of it."""
        begin = max(0.0, self.item.start_s)
        length = self.frames - round(windows.FRAMES_PER_S * begin)
        if math.isfinite(self.item.end_s):
            length = min(length, round(windows.FRAMES_PER_S * (self.item.end_s - begin)))
        window = windows.window_at(begin + windows.random_start(draw, length, frames), frames)
        return self._with_text(window._replace(end_s=min(window.end_s, self.item.end_s), sound_end_s=self.item.end_s))

    def middle(self, frames: int) -> windows.Window:
        """The window of so many frames in the middle of it; all of it where it is shorter."""
        start = (int(windows.frame_time_s(self.frames)) - int(windows.frame_time_s(frames))) // 2
        return self._with_text(windows.window_at(start, frames)) if start > 0 else self.whole(None)

    def around_caption(self, draw: float, min_s: float) -> windows.Window:
        """A random caption of the item's stretch, with its neighbours until it is long enough."""
        said, stretch = self.item.captions, (self.item.start_s, self.item.end_s)
        own = np.flatnonzero((said.start_s < stretch[1]) & (said.end_s > stretch[0]))
        if not said.are_timed or not len(own):
            raise errors.BadMedia("no_captions", "It has no captions that say when; see config.data.captions.")
        anchor = min(int(draw * len(own)), len(own) - 1)
        starts, ends = (times_s[own].clip(*stretch).tolist() for times_s in (said.start_s, said.end_s))
        begin, end, joined = windows.grow(starts, ends, anchor, min_s)
        texts = said.texts
        return windows.Window(begin, end, begin, end, " ".join(texts[own[place]] for place in joined))

    def _with_text(self, window: windows.Window) -> windows.Window:
        said = self.item.captions
        return window._replace(text=said.within(window.start_s, window.end_s)) if len(said) else window


def read_npz(path: Path, key: str) -> tuple[np.ndarray, float | None]:
    """One array of an .npz, whose checksum is compared; and its `origin_s`, if it says so.

    Raises:
      BadMedia: missing, damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                # Nothing else checks the list of names, in which a changed letter would make a member vanish.
                archive.open(member).close()
            found = _read_array(archive, key)
            origin_s = float(_read_array(archive, "origin_s")) if "origin_s.npy" in archive.namelist() else None
    except FileNotFoundError as error:
        raise errors.BadMedia("missing", f"{path.name}: there is no such file.") from error
    except DAMAGED as error:
        raise errors.BadMedia("damaged", f"{path.name} cannot be read as .npz with {key}: {error}.") from error
    return found, origin_s


def _read_array(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    """An array of numbers. Read to its end, its checksum is compared.

    Raises:
      ValueError, KeyError, EOFError: it holds something else, is not there, is cut off, or is larger than config.data allows.
    """
    size = archive.getinfo(f"{key}.npy").file_size
    if size > limits.current().memory_mb << 20:
        raise ValueError(f"{key} has {size >> 20} MB")
    with archive.open(f"{key}.npy") as member:
        with _parsing:
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
                np.lib.format.read_magic(member)]
            shape, is_fortran, dtype = read_header(member)
        if dtype.kind not in "fiu":
            raise ValueError(f"{key} holds no numbers")
        data = member.read()
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{key} has {len(data)} bytes for {shape} numbers")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")
