"""Moments of clips: where pairs of frame and sound are drawn, and how a source is asked for them.

A request asks for n clips at k moments each. A source of files answers it file by file, a source of records for all rows at
once; who asks does not see the difference.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from avc_jax import errors


@dataclasses.dataclass(frozen=True)
class Format:
    """The form in which pairs are delivered.

    Attributes:
      short_side: pixels of the shorter side of the scaled frame.
      size: side of the square crop, in pixels.
      window_s: length of a sound, in seconds.
      rate_hz: its sample rate.
      frame_choice: any, or keyframe (see config.data.frame_choice).
    """

    short_side: int
    size: int
    window_s: float
    rate_hz: int
    frame_choice: str = "any"

    @property
    def samples(self) -> int:
        """Samples of a sound."""
        return round(self.window_s * self.rate_hz)


def make_format(config) -> Format:
    """The form that a config asks for."""
    data = config.data
    return Format(data.frame_short_side, data.frame_size, data.window_s, config.audio.rate_hz, data.frame_choice)


def evaluation_format(config) -> Format:
    """The form in which evaluation sees clips: with sounds of config.evaluate.window_s."""
    return dataclasses.replace(make_format(config), window_s=config.evaluate.window_s or config.data.window_s)


class Request(NamedTuple):
    """What is asked of n clips at k moments each.

    Attributes:
      clips: int64[n], places in the source.
      draws: float64[n, k, 2] in [0, 1), which place the frame and the sound of each moment.
      crops: float64[n, k, 2] in [0, 1), which place the crop (y, x).
      needed: bool[n, k], the moments that a clip has to hold to be of use.
      frames, sounds: bool[n, k], what to deliver of them.
      rows: int64[n, k], the row of `waveform` where each of the `sounds` is wanted.
      waveform: int16[m, samples], to be written to; sounds are large, and so are not copied about.
    """

    clips: np.ndarray
    draws: np.ndarray
    crops: np.ndarray
    needed: np.ndarray
    frames: np.ndarray
    sounds: np.ndarray
    rows: np.ndarray
    waveform: np.ndarray

    def take(self, chosen: np.ndarray) -> "Request":
        """The request for some of the clips."""
        return self._replace(**{name: getattr(self, name)[chosen] for name in self._fields if name != "waveform"})


class Found(NamedTuple):
    """What a source gave, besides the sounds. Lists are of the `frames` of the good clips' moments, clip by clip.

    Attributes:
      bad: index into the request's clips -> why that one is of no use.
      frames: the crops, uint8[size, size, 3]; from a source with a `stored_side`, `jpegs.Crop`s.
      frame_s, sound_s: float64[n, k], seconds on the clock of each clip's file; not meant where it is bad.
    """

    bad: dict[int, errors.BadMedia]
    frames: list
    frame_s: np.ndarray
    sound_s: np.ndarray


def draw_frames(start_s, end_s, draws: np.ndarray) -> np.ndarray:
    """float64 times of frames, uniform over spans (arXiv:1705.08168, section 2.2).

    Args:
      start_s, end_s: spans in seconds, float64 of a shape that broadcasts with that of the result.
      draws: float64[..., 2] in [0, 1).

    Returns:
      float64[...].
    """
    return start_s + draws[..., 0] * (end_s - start_s)


def draw_sounds(start_s, end_s, frame_s: np.ndarray, draws: np.ndarray, window_s: float) -> np.ndarray:
    """float64 starts of sounds that overlap their frames: uniform in [t - window, t], clipped to the span.

    Sounds for false pairs are drawn by this same function around the moments of the other file, so that nothing but the
    content tells them apart.

    Args:
      start_s, end_s, draws: as for `draw_frames`; a span is at least as long as the window.
      frame_s: float64[...], times of the frames.
      window_s: length of a sound, in seconds.

    Returns:
      float64[...].
    """
    low = np.maximum(start_s, frame_s - window_s)
    high = np.minimum(frame_s, end_s - window_s)
    return low + draws[..., 1] * (high - low)


def too_short(length_s: float, window_s: float) -> errors.BadMedia:
    """The error of a clip that is shorter than a sound."""
    return errors.BadMedia("too_short", f"It has picture and sound together for {max(length_s, 0.0):.3f} s; "
                                        f"{window_s:g} s are needed.")


def incomplete(what: str) -> errors.BadMedia:
    """The error of a record that was asked for what it does not hold."""
    return errors.BadMedia("incomplete", f"{what} was asked for from where the record of the clip holds none.")
