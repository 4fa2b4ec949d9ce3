"""Answers a request from media files: each clip's file is opened, decoded once, and closed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np

from avc_jax import errors
from avc_jax.data.decode import Span
from avc_jax.data.moments import Format, Found, Request, draw_frames, draw_sounds, too_short


class Clip(Protocol):
    """What is asked of a clip here; `sources.Clip` says more."""

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...


class Media(Protocol):
    """What is asked of an open file; `decode.MediaFile` says what each of these does."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc) -> None: ...

    @property
    def span(self) -> Span: ...

    def measure(self) -> Span: ...

    def key_times(self, times_s: Sequence[float]) -> list[float]: ...

    def crops(self, times_s: Sequence[float], places: np.ndarray, short_side: int, size: int) -> np.ndarray: ...

    def sounds(self, starts_s: Sequence[float], window_s: float, rate_hz: int) -> np.ndarray: ...

    def stretch(self, start_s: float, end_s: float, rate_hz: int) -> tuple[float, np.ndarray]: ...

    def is_silent(self) -> bool: ...


class Stretch(NamedTuple):
    """The stretch of a file that is a clip, in seconds on the file's clock."""

    start_s: float
    end_s: float


class Read(NamedTuple):
    """What one clip gave, besides the sounds: crops uint8[size, size, 3], and float64[k] times in seconds."""

    frames: list[np.ndarray]
    frame_s: np.ndarray
    sound_s: np.ndarray


def read(paths: Sequence[Path], clips: Sequence[Clip], read_one: Callable[[Path, Clip, Request, Format], Read], request: Request,
         form: Format) -> Found:
    """Reads the request's clips one after another.

    Args:
      paths, clips: one for each of the request's.
      read_one: `decoders.read`, or `read_clip` of some kind of media.
      request, form: what is asked.
    """
    bad: dict[int, errors.BadMedia] = {}
    frames: list[np.ndarray] = []
    frame_s, sound_s = (np.zeros(request.needed.shape) for _ in range(2))
    for place, (path, clip) in enumerate(zip(paths, clips, strict=True)):
        try:
            found = read_one(path, clip, request.take(np.array([place])), form)
        except errors.BadMedia as error:
            bad[place] = error
            continue
        frames += found.frames
        frame_s[place], sound_s[place] = found.frame_s, found.sound_s
    return Found(bad, frames, frame_s, sound_s)


def read_clip(open_media: Callable[[Path], Media], path: Path, clip: Clip, request: Request, form: Format) -> Read:
    """Reads one clip, in this process.

    Args:
      open_media: opens the file, or raises BadMedia.
      path, clip: the file, and the stretch of it that is asked for.
      request, form: what is asked; the sounds are written into the request's waveform.

    Raises:
      BadMedia: the file cannot give it.
    """
    with open_media(path) as media:
        try:
            return _read_within(media, cut_span(media.span, clip), request, form)
        except errors.BadMedia as error:
            if error.kind not in ("incomplete", "too_short"):
                raise
        # The headers promised what the file does not hold, or hid what it does: place the same draws in what is there.
        return _read_within(media, cut_span(media.measure(), clip), request, form)


def _read_within(media: Media, span: Span, request: Request, form: Format) -> Read:
    if span.end_s - span.start_s < form.window_s:
        raise too_short(span.end_s - span.start_s, form.window_s)
    needed, draws = request.needed[0], request.draws[0]
    frame_s = draw_frames(span.start_s, span.end_s, draws)
    if form.frame_choice == "keyframe":
        frame_s[needed] = _key_times(media, frame_s[needed], span)
    sound_s = draw_sounds(span.start_s, span.end_s, frame_s, draws, form.window_s)
    # Also those that are not delivered: a file that cannot give a sound is as bad for a false pair as for a true one, or
    # else its frames would be seen in false pairs only.
    waveform = media.sounds(sound_s[needed].tolist(), form.window_s, form.rate_hz)
    # A silent second of a sounding file is data; a file that is all silence is not.
    if not np.logical_or(waveform > 1, waveform < -1).any(axis=1).all() and media.is_silent():
        raise errors.BadMedia("silent", "Its sound track is silent from beginning to end.")
    wanted = request.frames[0]
    crops = (list(media.crops(frame_s[wanted].tolist(), request.crops[0, wanted], form.short_side, form.size)) if wanted.any()
             else [])
    wanted = request.sounds[0]
    request.waveform[request.rows[0, wanted]] = waveform[wanted[needed]]
    return Read(crops, frame_s, sound_s)


def read_sound(media: Media, clip: Clip, rate_hz: int) -> np.ndarray:
    """int16[n]: all the sound that there is in an open file between the ends of a clip, mono.

    Raises:
      BadMedia: as `decode.MediaFile.stretch`.
    """
    span = cut_span(media.span, clip)
    return media.stretch(span.start_s, span.end_s, rate_hz)[1]


def _key_times(media: Media, times_s: np.ndarray, span: Span) -> np.ndarray:
    """float64[n]: the last key frame at or before each time; the time itself where that lies before the span."""
    keys = np.array(media.key_times(times_s.tolist()))
    return np.where(keys >= span.start_s, keys, times_s)


def cut_span(span: Span, clip: Clip) -> Span:
    """The part of a file's span that belongs to the clip."""
    return Span(max(span.start_s, clip.start_s), min(span.end_s, clip.end_s))

