"""One visit to a clip: from a place in the plan to the pairs of frame and sound that it yields."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from avc_jax import errors
from avc_jax.data.decode import Span
from avc_jax.data.plan import Draws, Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.sources import Clip, Media, Source

MAX_ATTEMPTS = 1000


@dataclasses.dataclass(frozen=True)
class Format:
    """The form in which a visit delivers its pairs.

    Attributes:
      short_side: pixels of the shorter side of the scaled frame.
      size: side of the square crop, in pixels.
      window_s: length of a sound, in seconds.
      rate_hz: its sample rate.
    """

    short_side: int
    size: int
    window_s: float
    rate_hz: int


@dataclasses.dataclass(frozen=True)
class Pairs:
    """k pairs of one visit.

    Attributes:
      frame: uint8[k, size, size, 3], RGB.
      waveform: int16[k, window_s * rate_hz].
      label: int32[k], 1 where frame and sound are of one moment of one file.
      file: int32[k], the file of the frame.
      clip, sound_clip: int32[k], the clips that they are from, as places in the source.
      frame_s, sound_s: float64[k], the time of the frame and the start of the sound, in seconds on their file's clock.
    """

    frame: np.ndarray
    waveform: np.ndarray
    label: np.ndarray
    file: np.ndarray
    clip: np.ndarray
    sound_clip: np.ndarray
    frame_s: np.ndarray
    sound_s: np.ndarray


def fields(form: Format) -> dict[str, tuple[tuple[int, ...], type]]:
    """Name -> (shape without the leading k, dtype) of the fields of `Pairs`, in order."""
    return {
        "frame": ((form.size, form.size, 3), np.uint8),
        "waveform": ((round(form.window_s * form.rate_hz),), np.int16),
        "label": ((), np.int32),
        "file": ((), np.int32),
        "clip": ((), np.int32),
        "sound_clip": ((), np.int32),
        "frame_s": ((), np.float64),
        "sound_s": ((), np.float64),
    }


class _Read(NamedTuple):
    """What one file gave for its moments."""

    frames: list[np.ndarray]
    waveform: np.ndarray
    frame_s: np.ndarray
    sound_s: np.ndarray


def draw_moments(span: Span, draws: np.ndarray, window_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Times of frames, and starts of sounds that overlap them (arXiv:1705.08168, section 2.2).

    The frame is uniform over the span, and the sound starts uniformly in [t - window, t], clipped to the span. Sounds
    for false pairs are drawn by this same function in the other file, so that nothing but the content tells them apart.

    Args:
      span: where the file has both picture and sound.
      draws: float64[k, 2] in [0, 1).
      window_s: length of a sound, in seconds.

    Returns:
      float64[k] times of frames, float64[k] starts of sounds.

    Raises:
      BadMedia: the span is shorter than a sound.
    """
    length = span.end_s - span.start_s
    if length < window_s:
        raise errors.BadMedia("too_short", f"It has picture and sound together for {max(length, 0.0):.3f} s; "
                                           f"{window_s:g} s are needed.")
    frame_s = span.start_s + draws[:, 0] * length
    low = np.maximum(span.start_s, frame_s - window_s)
    high = np.minimum(frame_s, span.end_s - window_s)
    return frame_s, low + draws[:, 1] * (high - low)


class Reader:
    """Reads visits of a source. Each is a pure function of (source, plan, visit); files are opened and closed within."""

    def __init__(self, source: Source, plan: Plan, form: Format, quarantine: Quarantine, *, pairing: str):
        """
        Args:
          source: the clips of one split.
          plan: over as many clips.
          form: of what is delivered.
          quarantine: where bad files go.
          pairing: see config.data.pairing.

        Raises:
          DataError: false pairs are wanted, and there is only one file.
        """
        self.source, self.plan, self.form, self.quarantine = source, plan, form, quarantine
        self.pairing = pairing
        if source.num_files < 2:
            raise errors.DataError(f"False pairs need the sound of another file, and this split of {source.root} has "
                                   f"{source.num_files} file(s).")

    def train(self, visit: int) -> Pairs:
        """The pairs of a training visit. Where the clip is bad, another takes its place, always the same one.

        Raises:
          DataError: too many files are bad.
        """
        draws = self.plan.draws(visit)
        labels = self.plan.labels(visit) if self.pairing == "independent" else np.ones(len(draws.moment), np.int32)
        candidates = (self.plan.substitute(visit, attempt) if attempt else self.plan.clip(visit)
                      for attempt in range(MAX_ATTEMPTS))
        index, own = self._first_good(candidates, draws.moment, with_frames=True)
        return self._pairs(visit, index, own, labels, draws, draws.crop)

    def evaluate(self, index: int) -> Pairs:
        """One true and one false pair of a held-out clip, cropped at the centre; zero pairs if the clip is bad."""
        draws, labels = self.plan.draws(index), np.array([1, 0], np.int32)
        own = self._try(index, draws.moment, with_frames=True)
        if own is None:
            return Pairs(*(np.zeros((0, *shape), dtype) for shape, dtype in fields(self.form).values()))
        return self._pairs(index, index, own, labels, draws, np.full((2, 2), 0.5))

    def _pairs(self, visit: int, index: int, own: _Read, labels: np.ndarray, draws: Draws, crop: np.ndarray) -> Pairs:
        """Joins the clip's frames and sounds, and puts a partner's sounds where a label asks for them.

        The clip's own sounds are read also where they are not used: a file that cannot give them is as bad for a false
        pair as for a true one, or else its frames would be seen in false pairs only.
        """
        clip, false = self.source.clips[index], labels == 0
        waveform, sound_s, sound_clip = own.waveform, own.sound_s, np.full(len(labels), index, np.int32)
        if false.any():
            candidates = (self.plan.partner(visit, attempt) for attempt in range(MAX_ATTEMPTS))
            others = (i for i in candidates if self.source.clips[i].file != clip.file)
            sound_clip[false], other = self._first_good(others, draws.partner_moment[false], with_frames=False)
            waveform[false], sound_s[false] = other.waveform, other.sound_s
        frame = np.stack([_crop(image, place, self.form.size) for image, place in zip(own.frames, crop, strict=True)])
        return Pairs(frame, waveform, labels, np.full(len(labels), clip.file, np.int32),
                     np.full(len(labels), index, np.int32), sound_clip, own.frame_s, sound_s)

    def _first_good(self, candidates: Iterable[int], moment: np.ndarray, *, with_frames: bool) -> tuple[int, _Read]:
        """(index, what was read) of the first candidate whose file is good."""
        for index in candidates:
            read = self._try(index, moment, with_frames=with_frames)
            if read is not None:
                return index, read
        self.quarantine.check()
        raise errors.DataError(f"No usable clip came up in {MAX_ATTEMPTS} draws from {self.source.root}; see the "
                               "quarantine ledger.")

    def _try(self, index: int, moment: np.ndarray, *, with_frames: bool) -> _Read | None:
        """What was read, or None where the file cannot give it; then the file is in quarantine."""
        clip = self.source.clips[index]
        try:
            with self.source.open(clip) as media:
                return self._read(media, clip, moment, with_frames)
        except errors.BadMedia as error:
            self.quarantine.add(clip.path, error)
            return None

    def _read(self, media: Media, clip: Clip, moment: np.ndarray, with_frames: bool) -> _Read:
        try:
            return self._read_within(media, cut_span(media.span, clip), moment, with_frames)
        except errors.BadMedia as error:
            if error.kind not in ("incomplete", "too_short"):
                raise
        # The headers promised what the file does not hold, or hid what it does: place the same draws in what is there.
        return self._read_within(media, cut_span(media.measure(), clip), moment, with_frames)

    def _read_within(self, media: Media, span: Span, moment: np.ndarray, with_frames: bool) -> _Read:
        frame_s, sound_s = draw_moments(span, moment, self.form.window_s)
        waveform = media.sounds(sound_s.tolist(), self.form.window_s, self.form.rate_hz)
        # A silent second of a sounding file is data; a file that is all silence is not.
        if (np.abs(waveform.astype(np.int32)) <= 1).all(axis=1).any() and media.is_silent():
            raise errors.BadMedia("silent", "Its sound track is silent from beginning to end.")
        return _Read(media.frames(frame_s.tolist(), self.form.short_side) if with_frames else [], waveform, frame_s, sound_s)


def cut_span(span: Span, clip: Clip) -> Span:
    """The part of a file's span that belongs to the clip."""
    return Span(max(span.start_s, clip.start_s), min(span.end_s, clip.end_s))


def _crop(image: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
    """uint8[h, w, 3] -> uint8[size, size, 3] at a place (y, x) in [0, 1); every offset is equally likely."""
    y, x = (int(place[axis] * (image.shape[axis] - size + 1)) for axis in range(2))
    return image[y : y + size, x : x + size]
