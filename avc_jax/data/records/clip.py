"""From a clip of a media file to the content of its record."""

import functools
import hashlib
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from avc_jax import errors
from avc_jax.data.clock import EDGE_S
from avc_jax.data.decode import MediaFile, Span
from avc_jax.data.files import cut_span
from avc_jax.data.moments import too_short
from avc_jax.data.records.example import Content
from avc_jax.data.records.layout import Recipe
from avc_jax.data.sources import Clip

_AT_ONCE = 64  # Frames decoded and held in memory together.
_LAST_S = 1e-6  # Training asks for frames up to, but not at, the end of a span.


def read_content(root: Path, place: int, clip: Clip, recipe: Recipe) -> Content:
    """Decodes all that a record keeps of a clip.

    Whatever training could read from the file within the clip has to be readable, so a file that is damaged anywhere within
    it is rejected as a whole.

    Args:
      root: folder of the media.
      place: of the clip among all clips.
      clip: the clip.
      recipe: what to keep.

    Raises:
      BadMedia: the clip is of no use; also too_long, for one that does not fit into a record.
    """
    path = root / clip.path
    with MediaFile(path) as media:
        span = media.span
        measured, frame_s, frames, frames_end_s, (sound_start_s, sound) = _read(media, path, clip, recipe)
        if not (np.abs(sound.astype(np.int32)) > 1).any() and media.is_silent():
            raise errors.BadMedia("silent", "Its sound track is silent from beginning to end.")
        width, height = media.native_size
    size, sha256 = _facts(path, path.stat().st_mtime_ns)
    return Content(clip.path, clip.split, clip.label, clip.file, place, span, measured or span, frame_s, frames, frames_end_s,
                   sound_start_s, sound, recipe.rate_hz, width, height, size, sha256)


def source_bytes(root: Path, clip: Clip) -> int:
    """Size of the clip's file; -1 if there is none."""
    try:
        return (root / clip.path).stat().st_size
    except OSError:
        return -1


@functools.lru_cache(maxsize=16)  # several clips may be of one long file
def _facts(path: Path, mtime_ns: int) -> tuple[int, str]:
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256


def _read(media: MediaFile, path: Path, clip: Clip, recipe: Recipe):
    """(measured span or None, times, JPEGs, end of the last frame, (start, sound)) of the first stretch that can be read."""
    failure: errors.BadMedia | None = None
    for measured, pictured, sounding in _stretches(media, path, clip, recipe):
        try:
            frame_s = _grid(pictured, recipe.fps)
            frames = _jpegs(media, frame_s, pictured, recipe)
            sound_s, sound = media.stretch(sounding.start_s, sounding.end_s, recipe.rate_hz)
            if measured is None and _falls_short(sound_s, sound_s + len(sound) / recipe.rate_hz, sounding):
                raise errors.BadMedia("incomplete", "Its sound is shorter than its headers say.")
            return measured, frame_s, frames, pictured.end_s, (sound_s, sound)
        except errors.BadMedia as error:
            if error.kind != "incomplete":
                raise
            failure = error
    raise failure or errors.BadMedia("incomplete", "It holds nothing of the clip.")


def _stretches(media: MediaFile, path: Path, clip: Clip, recipe: Recipe) -> Iterator[tuple[Span | None, Span, Span]]:
    """(measured span or None, span of frames, span of sound) to try in turn.

    The rule is that of a visit: what the headers say, and where that fails what the file was measured to hold. A visit may
    still succeed within headers that lie, if its moments happen to exist; so all that exists within them is wanted too.
    """
    declared = cut_span(media.span, clip)
    _check_longest(declared, recipe)
    if _length(declared) >= recipe.window_s:
        yield None, declared, declared
    whole = media.measure()
    measured = cut_span(whole, clip)
    _check_longest(measured, recipe)
    if _length(measured) < recipe.window_s:
        raise too_short(_length(measured), recipe.window_s)
    start_s, end_s = min(measured.start_s, declared.start_s), max(measured.end_s, declared.end_s)
    with MediaFile(path, audio=False) as pictures, MediaFile(path, video=False) as sounds:
        pictured, sounding = (Span(max(start_s, track.start_s), min(end_s, track.end_s))
                              for track in (pictures.measure(), sounds.measure()))
    if min(_length(pictured), _length(sounding)) >= recipe.window_s:
        yield whole, pictured, sounding
    yield whole, measured, measured


def _falls_short(start_s: float, end_s: float, span: Span) -> bool:
    """Whether a window at one of the ends of the span, which may be moved by EDGE_S, would not find its sound."""
    return start_s > span.start_s + EDGE_S or end_s < span.end_s - EDGE_S


def _length(span: Span) -> float:
    return span.end_s - span.start_s


def _check_longest(span: Span, recipe: Recipe) -> None:
    if _length(span) > recipe.longest_s:
        raise errors.BadMedia("too_long", f"It is {_length(span):.0f} s long, and a record holds at most {recipe.longest_s:g} s: "
                                          "cut it into clips by start_s and end_s in a manifest, or raise --longest_s.")


def _grid(span: Span, fps: float) -> np.ndarray:
    """float64[n]: start, start + 1 / fps, ... before the end."""
    times = span.start_s + np.arange(math.ceil(_length(span) * fps) + 1) / fps
    return times[times < span.end_s - _LAST_S]


def _jpegs(media: MediaFile, times_s: np.ndarray, span: Span, recipe: Recipe) -> list[bytes]:
    """The frames at the times, encoded; the very last frame of the span is read as well, to see that it exists."""
    media.frames([max(span.start_s, span.end_s - _LAST_S)], recipe.short_side)
    return [_jpeg(image, recipe.quality) for begin in range(0, len(times_s), _AT_ONCE)
            for image in media.frames(times_s[begin : begin + _AT_ONCE].tolist(), recipe.short_side)]


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()
