"""Frames and samples of one media file on one clock.

The only door to PyAV for reading. Imports neither TensorFlow nor JAX. A `MediaFile` belongs to one thread at
a time; different files may be read in different threads, as PyAV gives up the GIL while it decodes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Self

import numpy as np

from avc_jax.data.clock import Source, Span, plain_errors
from avc_jax.data.picture import Pictures, View
from avc_jax.data.sound import Sounds

__all__ = ["MediaFile", "Span", "View"]

_STRANGE = "The file is damaged in a way the decoder cannot handle."


class MediaFile:
    """An open video or sound file; a context manager.

    All times are seconds on the container's own clock (see `avc_jax.data.clock`); `span` says where it starts
    and ends. Nothing is ever made up: no padding unless asked for, no repeated frame, no substitute for a track.
    What cannot be given raises `avc_jax.errors.BadMedia` with a `kind` and one plain sentence:
      unreadable: no such file, empty, or not a media file
      no_video, no_audio: the track is missing, is only cover art, is empty, or has no decoder on this machine
      incomplete: the asked time lies outside what the file really holds
      damaged: the decoder fails there, the frame is flagged corrupt, or the sound has a hole of over 50 ms
      too_large: there is not enough memory to decode it
    """

    def __init__(self, path: str | os.PathLike, *, video: bool = True, audio: bool = True):
        """Opens the file; `video` and `audio` say which tracks are needed.

        Raises:
          BadMedia: unreadable, no_video, no_audio.
        """
        if not (video or audio):
            raise ValueError("Ask for video, audio or both.")
        with plain_errors("unreadable", _STRANGE):
            self._source = Source(path, video=video, audio=audio)
        self._pictures = Pictures(self._source) if video else None
        self._sounds = Sounds(self._source) if audio else None
        self._span: Span | None = None
        self._measured: Span | None = None

    def _check_open(self) -> None:
        if not self._source.is_open:  # PyAV would crash the process.
            raise ValueError("The media file is closed.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._source.close()

    @property
    def span(self) -> Span:
        """The overlap of the needed tracks as the headers declare it, or `measure()` if those make no sense.

        Headers may still be wrong, mostly by a frame or two in WebM: on "incomplete", ask `measure()`.
        """
        if self._span is None:
            self._check_open()
            with plain_errors("unreadable", _STRANGE):
                self._span = self._source.header_span()
        if self._span is None:
            self._span = self.measure()
        return self._span

    @property
    def start_s(self) -> float:
        """When the first of all the file's tracks starts, needed or not, as declared."""
        self._check_open()
        return self._source.container_start_s

    def measure(self) -> Span:
        """Returns the true overlap of the needed tracks: reads the times of all packets, decodes hardly any.

        Raises:
          BadMedia: no_video, no_audio if a track is empty; incomplete if the tracks do not overlap.
        """
        if self._measured is None:
            self._check_open()
            with plain_errors("damaged", _STRANGE):
                self._measured = self._source.measured_span()
        return self._measured

    def frames(self, times_s: Sequence[float], short_side: int | None = None) -> list[np.ndarray]:
        """Returns the frame on screen at each time, in the order asked.

        That is the last frame whose time stamp is not after the time (0.5 ms of rounding forgiven); the last
        frame of the file counts until its duration is over. A time gives the same bits whatever else is
        asked.

        Args:
          times_s: seconds, in any order, repeats allowed.
          short_side: pixels of the shorter side, the other keeps the display aspect; None: the native size.

        Returns:
          uint8[h, w, 3], full-range RGB, upright, square pixels.

        Raises:
          BadMedia: incomplete, damaged, unreadable (the file vanished).
        """
        self._check_open()
        if self._pictures is None:
            raise ValueError("The file was opened with video=False.")
        times = _checked(times_s)
        if short_side is not None and short_side < 1:
            raise ValueError(f"short_side must be at least 1 pixel, got {short_side}.")
        with plain_errors("damaged", _STRANGE):
            return self._pictures.whole(times, short_side)

    def crops(self, times_s: Sequence[float], places: np.ndarray, short_side: int, size: int) -> np.ndarray:
        """Returns a square crop of the frame on screen at each time, in the order asked; else as `frames`.

        Args:
          times_s: seconds, in any order, repeats allowed.
          places: float64[n, 2], (y, x) in [0, 1) of each crop among all that the scaled, upright picture has room for.
          short_side: pixels of the shorter side of the scaled picture.
          size: pixels of the crop's side, at most short_side.

        Returns:
          uint8[n, size, size, 3].

        Raises:
          BadMedia: as `frames`.
        """
        self._check_open()
        if self._pictures is None:
            raise ValueError("The file was opened with video=False.")
        times = _checked(times_s)
        if not 1 <= size <= short_side:
            raise ValueError(f"The crop must have 1 to short_side={short_side} pixels, got {size}.")
        with plain_errors("damaged", _STRANGE):
            return self._pictures.crops(times, places, short_side, size)

    def views(self, views: Sequence[View]) -> list[list[np.ndarray]]:
        """Returns the frames on screen at the times of several views, for which the file is decoded once; else as `frames`.

        Args:
          views: which pictures, and in which form.

        Returns:
          For each view uint8[h, w, 3] for each of its times, in the order asked. Equal times share an array.

        Raises:
          BadMedia: as `frames`.
        """
        self._check_open()
        if self._pictures is None:
            raise ValueError("The file was opened with video=False.")
        checked = [view._replace(times_s=_checked(view.times_s)) for view in views]
        with plain_errors("damaged", _STRANGE):
            return self._pictures.views(checked)

    def key_times(self, times_s: Sequence[float]) -> list[float]:
        """Returns when the last key frame at or before each time was shown, in seconds; decodes nothing.

        Asking `frames` or `crops` for such a time decodes one frame. In a file whose packets carry no time stamps nobody can
        say, and the time itself is returned.

        Raises:
          BadMedia: as `frames`.
        """
        self._check_open()
        if self._pictures is None:
            raise ValueError("The file was opened with video=False.")
        with plain_errors("damaged", _STRANGE):
            return self._pictures.key_times(_checked(times_s))

    def sounds(self, starts_s: Sequence[float], window_s: float, rate_hz: int, *, pad: bool = False) -> np.ndarray:
        """Returns windows of mono sound that start at the given times, to the nearest sample.

        A window may overlap the ends of the track by at most 1 ms; it is then moved inside. Channels are
        mixed down and the rate is changed by libswresample; full scale of any sample format becomes full
        scale of int16. The noise that AAC stores only as a level is drawn anew by the decoder, so such sound
        repeats exactly only if the same calls are made in the same order.

        Args:
          starts_s: seconds, in any order.
          window_s: length of every window in seconds.
          rate_hz: samples a second of the result.
          pad: give a window that reaches over an end of the track, too, with zeros where the track has no sound.

        Returns:
          int16[len(starts_s), round(window_s * rate_hz)].

        Raises:
          BadMedia: incomplete, damaged, unreadable (the file vanished).
        """
        self._check_open()
        if self._sounds is None:
            raise ValueError("The file was opened with audio=False.")
        starts = _checked(starts_s)
        if not window_s * rate_hz >= 1:
            raise ValueError(f"A window of {window_s} s at {rate_hz} Hz holds no sample.")
        with plain_errors("damaged", _STRANGE):
            return self._sounds.windows(starts, window_s, rate_hz, pad)

    def stretch(self, start_s: float, end_s: float, rate_hz: int) -> tuple[float, np.ndarray]:
        """Returns what sound there is between two times, decoded and resampled in one piece, and when exactly it starts.

        Args:
          start_s, end_s: seconds; where the track begins later or ends earlier, so does the sound.
          rate_hz: samples a second of the result.

        Returns:
          The time of the first sample in seconds, and int16[n]; as with `sounds`, mixed down to mono.

        Raises:
          BadMedia: incomplete (there is none), damaged, unreadable (the file vanished).
        """
        self._check_open()
        if self._sounds is None:
            raise ValueError("The file was opened with audio=False.")
        _checked([start_s, end_s])
        with plain_errors("damaged", _STRANGE):
            return self._sounds.stretch(start_s, end_s, rate_hz)

    @property
    def native_size(self) -> tuple[int, int]:
        """(width, height) of the stored picture in pixels, as declared, before it is turned upright."""
        self._check_open()
        if self._pictures is None:
            raise ValueError("The file was opened with video=False.")
        return self._source.video.codec_context.width, self._source.video.codec_context.height

    @property
    def native_rate_hz(self) -> int:
        """Samples a second of the stored sound, as declared."""
        self._check_open()
        if self._sounds is None:
            raise ValueError("The file was opened with audio=False.")
        return self._source.audio.codec_context.sample_rate

    def is_silent(self) -> bool:
        """Returns whether the whole track is digital silence: no |sample| above 1 on the scale of int16.

        Stops at the first louder sample; decodes the whole track only if there is none.
        """
        self._check_open()
        if self._sounds is None:
            raise ValueError("The file was opened with audio=False.")
        with plain_errors("damaged", _STRANGE):
            return self._sounds.is_silent()


def _checked(times_s: Sequence[float]) -> list[float]:
    times = [float(t) for t in times_s]
    if not all(math.isfinite(t) for t in times):
        raise ValueError("Times must be finite numbers of seconds.")
    return times
