"""Sound at given times: decode a stretch, place its samples by their time stamps, cut windows, resample.

Each window is cut from the decoded frames around it and resampled by itself, always from the input sample
nearest to the window's start less a fixed margin. So a window comes out the same whether it was asked for
alone or with others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np

from avc_jax.data.clock import EDGE_S, MEDIA_ERRORS, Source, plain_errors, seconds
from avc_jax.errors import BadMedia

_PAD_S = 0.02  # Margin around a window for the resampler's filter.
# Decoded before that and thrown away: MP3's bit reservoir and Opus' pre-roll need up to 0.1 s.
_SETTLE_S = 0.25
_GAP_S = 0.5  # A longer gap between windows is sought over; a shorter one is cheaper to decode.
_STRETCH_S = 60.0  # Bound on what is held decoded at a time.
_HOLE_S = 0.05  # Less is the jitter of rounded time stamps, more is missing sound.

_EARLY = "Sound was asked for from before the sound track starts."
_LATE = "Sound was asked for from after the end of what the sound track really holds."
_BROKEN = "The sound at the asked time is damaged and cannot be decoded."
_HOLE = "The sound has a hole or a jump of more than 50 ms at the asked time."
_CHANGED = "The sound changes its sample rate or its channels at the asked time."


@dataclass(frozen=True)
class _Piece:
    """A decoded frame. samples, of the decoder's own type: [channels, n] if planar, else [1, n *
    channels].
    """

    start_s: float
    count: int
    samples: np.ndarray
    form: tuple[str, str, int]  # sample format, channel layout, rate in Hz

    @property
    def end_s(self) -> float:
        return self.start_s + self.count / self.form[2]


class _Decoded(NamedTuple):
    """A stretch of decoded sound.

    Attributes:
      pieces: in the order of the file.
      errors: times at which the decoder failed.
      begin_s: when the track starts, as declared.
      ends: whether nothing follows the last piece.
    """

    pieces: list[_Piece]
    errors: list[float]
    begin_s: float
    ends: bool


class Sounds:
    """Reads windows of the one audio stream of a `Source`."""

    def __init__(self, source: Source):
        self._source = source

    def windows(self, starts_s: Sequence[float], window_s: float, rate_hz: int, pad: bool = False) -> np.ndarray:
        """Returns int16[len(starts_s), round(window_s * rate_hz)]; see `MediaFile.sounds`."""
        order = sorted(range(len(starts_s)), key=lambda i: starts_s[i])
        out = np.empty((len(starts_s), round(window_s * rate_hz)), np.int16)
        while order:
            group = _group([starts_s[i] for i in order], window_s)
            decoded = self._decode(starts_s[order[0]], starts_s[order[group - 1]] + window_s)
            for i in order[:group]:
                out[i] = _window(decoded, starts_s[i], window_s, rate_hz, pad)
            order = order[group:]
        return out

    def stretch(self, start_s: float, end_s: float, rate_hz: int) -> tuple[float, np.ndarray]:
        """Returns the time of the first sample, and int16[n]; see `MediaFile.stretch`."""
        return _stretch(self._decode(start_s, end_s), start_s, end_s, rate_hz)

    def is_silent(self) -> bool:
        """Returns whether the whole track is digital silence; see `MediaFile.is_silent`."""
        if not self._source.fresh:
            self._source.rewind()
        heard = False
        for packet in self._source.packets(self._source.audio):
            pieces, _ = self._feed(packet, None)
            heard |= bool(pieces)
            if any(_is_loud(p) for p in pieces):
                return False
        if not heard:
            raise BadMedia("no_audio", "Not one sample of the sound track can be decoded.")
        return True

    def _decode(self, start_s: float, end_s: float) -> _Decoded:
        """Decodes from before `start_s` to past `end_s`."""
        want_s = start_s - _PAD_S - _SETTLE_S
        begin_s = self._source.start_s(self._source.audio)
        for target_s in (want_s, want_s - 2.0, begin_s):
            whole = self._position(target_s, begin_s)
            decoded, landed_s = self._read(want_s, end_s + _PAD_S, whole)
            if whole or landed_s <= want_s + EDGE_S:
                break
        return decoded

    def _position(self, target_s: float, begin_s: float) -> bool:
        """Moves the reading head near `target_s`; returns True if it stands at the beginning of the file.

        The beginning gets a new decoder: some (AC-3, AMR) keep state over a seek, and before the beginning
        there is no sound in which they could settle.
        """
        source = self._source
        if target_s > begin_s and source.seek(source.audio, target_s):
            return False
        if not source.fresh:
            source.rewind()
        return True

    def _read(self, want_s: float, end_s: float, whole: bool) -> tuple[_Decoded, float]:
        """Decodes from `want_s` to `end_s`; returns what came, and where reading began."""
        pieces: list[_Piece] = []
        errors: list[float] = []
        begin_s = self._source.start_s(self._source.audio)
        expected = begin_s if whole else None
        landed_s, tick = math.inf, self._source.tick(self._source.audio)
        for packet in self._source.packets(self._source.audio):
            if packet.pts is not None:
                packet_s = seconds(packet.pts, tick)
                landed_s = min(landed_s, packet_s)
                if packet_s + seconds(packet.duration or 0, tick) < want_s:
                    continue  # Only the seek was so coarse: Matroska lands on key frames of the picture.
            new, error_s = self._feed(packet, pieces[-1].end_s if pieces else expected)
            pieces += new
            errors += error_s
            if pieces and pieces[-1].start_s > end_s:
                return _Decoded(pieces, errors, begin_s, ends=False), landed_s
        return _Decoded(pieces, errors, begin_s, ends=True), landed_s

    def _feed(self, packet: av.Packet, expected_s: float | None) -> tuple[list[_Piece], list[float]]:
        """Decodes one packet (size 0 drains). A frame without a time stamp follows the one before it."""
        stream, tick = self._source.audio, self._source.tick(self._source.audio)
        try:
            frames = stream.codec_context.decode(packet if packet.size else None)
        except MEDIA_ERRORS:
            return [], [seconds(packet.pts, tick)] if packet.pts is not None else []
        pieces = []
        for frame in frames:
            if frame.pts is not None:
                expected_s = seconds(frame.pts, tick)
            if expected_s is None or frame.samples == 0:
                continue
            layout = frame.layout.name
            if "channels" in layout:  # Order unknown: take the usual layout of that many.
                layout = f"{frame.layout.nb_channels}c"
            samples, sample_format = _samples(frame)
            pieces.append(
                _Piece(expected_s, frame.samples, samples, (sample_format, layout, frame.sample_rate))
            )
            expected_s = pieces[-1].end_s
        if packet.is_corrupt and packet.pts is not None:
            return pieces, [seconds(packet.pts, tick)]
        return pieces, []


def windows_of(samples: np.ndarray, rate_in: int, starts_s: Sequence[float], window_s: float, rate_hz: int) -> np.ndarray:
    """Returns the windows that `Sounds.windows` with `pad` gives of a file that holds the samples from time 0 on.

    Args:
      samples: int16, int32 or float32 (full scale 1) of shape [n] or [n, channels].
      rate_in: their samples a second.
      starts_s, window_s, rate_hz: as there.

    Returns:
      int16[len(starts_s), round(window_s * rate_hz)].

    Raises:
      BadMedia: damaged, if there is no conversion from such samples.
    """
    columns = samples.reshape(len(samples), -1)
    layout = {1: "mono", 2: "stereo"}.get(columns.shape[1], f"{columns.shape[1]}c")
    form = ({"int16": "s16", "int32": "s32", "float32": "flt"}[samples.dtype.name], layout, rate_in)
    # Pieces of a second, so that what is near a window is found without copying everything.
    parts = [(place / rate_in, columns[place : place + rate_in]) for place in range(0, len(columns), rate_in)]
    pieces = [_Piece(start_s, len(part), part.reshape(1, -1), form) for start_s, part in parts]
    decoded = _Decoded(pieces, [], 0.0, ends=True)
    return np.stack([_window(decoded, start_s, window_s, rate_hz, pad=True) for start_s in starts_s])


def _window(decoded: _Decoded, start_s: float, window_s: float, rate_hz: int, pad: bool) -> np.ndarray:
    """Returns int16[round(window_s * rate_hz)]; with `pad`, zeros where the track has not begun or is over."""
    try:
        sound, begin, _ = _around(decoded.pieces, decoded.errors, start_s, window_s, rate_hz)
        return cut_window(sound, begin, round(window_s * rate_hz), rate_hz)
    except BadMedia as error:
        if not pad or error.kind != "incomplete":
            raise
    first_s, sound = _stretch(decoded, start_s, start_s + window_s, rate_hz)
    out = np.zeros(round(window_s * rate_hz), np.int16)
    place = max(0, round((first_s - start_s) * rate_hz))
    behind = len(out) - place - len(sound)
    # Zeros stand for what is outside the track, and never for what is lost within.
    most, last = _HOLE_S * rate_hz, decoded.ends and decoded.pieces[-1].start_s < start_s + window_s
    if (place > most and start_s > decoded.begin_s + _HOLE_S) or (behind > most and not last):
        raise BadMedia("damaged", _HOLE)
    out[place : place + len(sound)] = sound[: len(out) - place]
    return out


def _stretch(decoded: _Decoded, start_s: float, end_s: float, rate_hz: int) -> tuple[float, np.ndarray]:
    """Returns the time of the first sample, and int16[n]: what sound there is between two times."""
    near = _near(decoded.pieces, start_s, end_s)
    if near:
        origin_s = _placed(near)
        start_s, end_s = max(start_s, origin_s), min(end_s, origin_s + sum(p.count / p.form[2] for p in near))
    if not near or end_s <= start_s:
        raise BadMedia("incomplete", _LATE)
    sound, begin, origin_s = _around(decoded.pieces, decoded.errors, start_s, end_s - start_s, rate_hz)
    first = max(0, begin)
    return origin_s + first / rate_hz, sound[first : begin + round((end_s - start_s) * rate_hz)]


def _around(
    pieces: list[_Piece], errors: list[float], start_s: float, window_s: float, rate_hz: int
) -> tuple[np.ndarray, int, float]:
    """Returns int16[m] from a little before a window to a little after it, the index of the window's first sample
    (which lies outside by at most 1 ms), and the time of sample 0.
    """
    end_s = start_s + window_s
    near = _near(pieces, start_s, end_s)
    if any(start_s - _HOLE_S < e < end_s for e in errors):
        raise BadMedia("damaged", _BROKEN)
    if not near or near[0].start_s > start_s + _HOLE_S:
        raise BadMedia("incomplete", _EARLY if pieces and pieces[0].start_s > start_s else _LATE)
    if any(p.form != near[0].form for p in near):
        raise BadMedia("damaged", _CHANGED)
    origin_s, total = _placed(near), sum(p.count for p in near)
    rate_in = near[0].form[2]
    if start_s < origin_s - EDGE_S:
        raise BadMedia("incomplete", _EARLY)
    if end_s > origin_s + total / rate_in + EDGE_S:
        raise BadMedia("incomplete", _LATE)
    begin = round((start_s - origin_s) * rate_in)
    low = max(0, begin - round(_PAD_S * rate_in))
    high = min(total, begin + round((window_s + _PAD_S) * rate_in))
    channels = near[0].samples.size // near[0].count // near[0].samples.shape[0]  # Per row: 1 if planar.
    samples = np.concatenate([p.samples for p in near], axis=1)[:, low * channels : high * channels]
    sound = _to_mono(np.ascontiguousarray(samples), near[0].form, rate_hz)
    return sound, round((begin - low) / rate_in * rate_hz), origin_s + low / rate_in


def _near(pieces: list[_Piece], start_s: float, end_s: float) -> list[_Piece]:
    return [p for p in pieces if p.end_s > start_s - _PAD_S and p.start_s < end_s + _PAD_S]


def _group(starts_s: list[float], window_s: float) -> int:
    """Returns how many of the leading windows (ascending) are best decoded in one stretch."""
    for count in range(1, len(starts_s)):
        gap_s = starts_s[count] - starts_s[count - 1] - window_s
        if gap_s > _GAP_S or starts_s[count] - starts_s[0] > _STRETCH_S:
            return count
    return len(starts_s)


def _placed(pieces: list[_Piece]) -> float:
    """Returns the time of the first sample, from the time stamps of all pieces.

    Each stamp, less the samples before it, is an estimate that is off by its own rounding (1 ms in Matroska);
    the middle of their range is the best one, and exact where stamps are. Stamps that stray further are left
    out: libav is 10 ms late for a Vorbis packet between long and short blocks.
    """
    estimates = []
    passed_s = 0.0
    for before, piece in zip([None, *pieces], pieces, strict=False):
        if before is not None and abs(piece.start_s - before.end_s) > _HOLE_S:
            raise BadMedia("damaged", _HOLE)
        estimates.append(piece.start_s - passed_s)
        passed_s += piece.count / piece.form[2]
    if max(estimates) - min(estimates) > _HOLE_S:
        raise BadMedia("damaged", _HOLE)
    middle = sorted(estimates)[len(estimates) // 2]
    close = [e for e in estimates if abs(e - middle) <= EDGE_S]
    return (max(close) + min(close)) / 2


def cut_window(sound: np.ndarray, begin: int, count: int, rate_hz: int) -> np.ndarray:
    """Cuts int16[count] from `begin` on; at the two ends of the track it may move by up to 1 ms to stay within.

    Raises:
      BadMedia: incomplete.
    """
    moved = max(0, min(begin, len(sound) - count))
    if abs(moved - begin) > round(EDGE_S * rate_hz) + 1 or len(sound) < count:
        raise BadMedia("incomplete", _LATE)
    return sound[moved : moved + count]


def _samples(frame: av.AudioFrame) -> tuple[np.ndarray, str]:
    """Returns the samples as in `_Piece` and their format."""
    if frame.format.is_planar and frame.layout.nb_channels >= 8:
        # PyAV 18.1 looks for the end of the planes beyond the eighth and crashes; one packed plane is safe.
        packed = frame.format.packed.name
        return _converted(frame, packed, frame.layout.name, frame.sample_rate), packed
    return frame.to_ndarray(), frame.format.name


def _to_mono(samples: np.ndarray, form: tuple[str, str, int], rate_hz: int) -> np.ndarray:
    """Returns int16[m]: mixed down and resampled by libswresample; the first sample keeps its time."""
    sample_format, layout, rate_in = form
    with plain_errors("damaged", "The sound has a sample format or channel layout that cannot be converted."):
        frame = av.AudioFrame.from_ndarray(samples, format=sample_format, layout=layout)
        frame.sample_rate = rate_in
        return _converted(frame, "s16", "mono", rate_hz)[0]


def _converted(frame: av.AudioFrame, sample_format: str, layout: str, rate_hz: int) -> np.ndarray:
    """Returns the whole frame in another packed format, [1, n * channels].

    PyAV's AudioResampler is not used: it starts one thread per core for every conversion.
    """
    rate_in = frame.sample_rate
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add(
        "abuffer",
        sample_rate=str(rate_in),
        sample_fmt=frame.format.name,
        channel_layout=frame.layout.name,
        time_base=f"1/{rate_in}",
    )
    wanted = graph.add(
        "aformat", sample_rates=str(rate_hz), sample_fmts=sample_format, channel_layouts=layout
    )
    graph.link_nodes(source, wanted, graph.add("abuffersink")).configure()
    graph.push(frame)
    graph.push(None)
    parts = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray())
        except (EOFError, BlockingIOError):
            break
    # A few samples alone can be too little for the filter to give anything.
    return np.concatenate(parts, axis=1) if parts else np.empty((1, 0), np.int16)


def _is_loud(piece: _Piece) -> bool:
    """True if a sample exceeds 1 on the scale of int16."""
    samples = piece.samples
    if samples.dtype == np.uint8:
        return bool((samples != 128).any())
    full = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max) + 1
    limit = 1.5 * full / 32768  # Up to 1.5 rounds to 1.
    return bool(samples.max() > limit or samples.min() < -limit)
