"""Where in a film clips are taken: the arithmetic of AVLnet's loaders (arXiv:2006.09199; github.com/roudimit/AVLnet).

Times are seconds since the beginning of the film. Frames are those of its stored spectrogram, 100 a second. Pure functions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

RATE_HZ, HOP, FFT = 16000, 160, 400  # Of stored spectrograms.
FRAMES_PER_S = RATE_HZ // HOP


class Window(NamedTuple):
    """What is taken of a film.

    Attributes:
      start_s, end_s: features of the picture are pooled from there to there, both included.
      sound_start_s, sound_end_s: the sound begins there, and ends there unless it was long enough before; another place than that
        of the picture shifts it.
      text: its words.
    """

    start_s: float
    end_s: float
    sound_start_s: float
    sound_end_s: float
    text: str = ""


def frame_at(time_s: float) -> int:
    """The frame that a time is in, as librosa's time_to_frames counts with n_fft: half an FFT early, so negative at the start."""
    return (int(time_s * RATE_HZ) - FFT // 2) // HOP


def frame_time_s(frame: int) -> float:
    """The time that librosa's frames_to_time gives for a frame, with n_fft."""
    return (frame * HOP + FFT // 2) / RATE_HZ


def frames_in(seconds: float) -> int:
    """Frames of an input of so many seconds."""
    return round(FRAMES_PER_S * seconds)


def random_start(draw: float, film_frames: int, frames: int) -> int:
    """The whole second at which a window begins, uniform over those that the reference draws from.

    Args:
      draw: in [0, 1).
      film_frames: of the film.
      frames: of the window. A film that is not longer than it is begun at 0.
    """
    film_s, window_s = int(frame_time_s(film_frames)), int(frame_time_s(frames))
    starts = max(1, film_s - (window_s + 1))
    return min(int(draw * starts), starts - 1)


def window_at(start_s: float, frames: int) -> Window:
    """The window of so many frames that begins at a time."""
    return Window(start_s, start_s + int(frame_time_s(frames)), start_s, math.inf)


def grow(starts: Sequence[float], ends: Sequence[float], anchor: int, min_s: float) -> tuple[float, float, list[int]]:
    """Joins a caption with its neighbours until the whole is long enough.

    The neighbour that makes the shorter whole comes first; of two that make the same, the one before.

    Args:
      starts, ends: of all captions of a film, in order, in seconds.
      anchor: the caption to begin with.
      min_s: how long the whole has to be; shorter only where there is no more.

    Returns:
      Start, end, and the captions in the order in which they were joined.
    """
    first = last = anchor
    start_s, end_s, joined = starts[anchor], ends[anchor], [anchor]
    while end_s - start_s < min_s and (first > 0 or last < len(starts) - 1):
        before = end_s - starts[first - 1] if first > 0 else math.inf
        after = ends[last + 1] - start_s if last < len(starts) - 1 else math.inf
        if before <= after:
            first -= 1
            start_s = starts[first]
            joined.append(first)
        else:
            last += 1
            end_s = ends[last]
            joined.append(last)
    return start_s, end_s, joined


def sound_frames(window: Window, film_frames: int, frames: int) -> tuple[int, int]:
    """(First frame, number of frames) of a window's sound in the stored spectrogram of a film.

    Where the reference's first frame is negative, and its slice empty therefore, ours is 0.
    """
    first = max(0, frame_at(window.sound_start_s))
    last = film_frames if math.isinf(window.sound_end_s) else min(film_frames, frame_at(window.sound_end_s))
    return first, max(0, min(last - first, frames))


def feature_rows(window: Window, rate_hz: float, count: int) -> tuple[int, int]:
    """(First, end) of the rows, of `count`, that belong to a window's picture, at so many rows a second."""
    end = count if math.isinf(window.end_s) else min(count, int(window.end_s * rate_hz) + 1)
    return min(max(0, int(window.start_s * rate_hz)), end), end
