"""Pictures at given times: seek to a key frame, decode only what the wanted frames need, convert only those.

The packets from a key frame to the last wanted time are read first and decoded second. Their time stamps tell
which frames will be on screen, so pictures that nothing else refers to are skipped by the decoder, and
decoding ends with the last wanted frame. Results do not depend on what was asked before or together: every
visit starts at a key frame.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from avc_jax.data import stored
from avc_jax.data.clock import EDGE_S, MEDIA_ERRORS, Source
from avc_jax.errors import BadMedia

_ROUNDING_S = 5.1e-4  # A time so little before a frame's time stamp, maybe rounded to 1 ms, means that frame.
_GAP_S = 2.0  # Without an index of key frames, a longer gap between wanted times is sought over, not decoded.
_MOST_REORDERED = 17  # H.264 and HEVC show a picture at most 16 pictures later than they store it.
# Decoders that leave out pictures nothing refers to, without any trace in the others (a test compares bit for
# bit). HEVC is not among them: its mark means "not used in the same layer", other layers may still refer to
# the picture.
_CAN_SKIP = {"h264", "mpeg1video", "mpeg2video", "vp8"}

_EARLY = "A picture was asked for from before the first one in the file."
_LATE = "A picture was asked for from after the last one the file really holds."
_NO_KEY = "The file has no picture from which decoding could start."
_BROKEN = "The pictures at the asked time are damaged and cannot be decoded."


class View(NamedTuple):
    """Pictures of one form.

    Attributes:
      times_s: seconds, in any order, repeats allowed.
      short_side: pixels of the shorter side of the scaled picture, the other keeps the display aspect.
      size: side of the square that is cut from its centre; None: it stays whole.
    """

    times_s: Sequence[float]
    short_side: int
    size: int | None = None


class Pictures:
    """Reads frames of the one video stream of a `Source`."""

    def __init__(self, source: Source):
        self._source = source
        self._scaler = VideoReformatter()  # Kept, because setting up a scaler costs more than using it.

    def whole(self, times_s: Sequence[float], short_side: int | None) -> list[np.ndarray]:
        """Returns uint8[h, w, 3] for each time, in the order asked; see `MediaFile.frames`."""
        shown: dict[float, np.ndarray] = {}

        def keep(frame: av.VideoFrame, time_s: float) -> None:
            shown[time_s] = self._uncut(frame, short_side)

        self._show(times_s, keep)
        return [shown[t].copy() if times_s.count(t) > 1 else shown[t] for t in times_s]

    def crops(self, times_s: Sequence[float], places: np.ndarray, short_side: int, size: int) -> np.ndarray:
        """Returns uint8[n, size, size, 3], in the order asked; see `MediaFile.crops`."""
        crops = np.empty((len(times_s), size, size, 3), np.uint8)

        def keep(frame: av.VideoFrame, time_s: float) -> None:
            for row, asked_s in enumerate(times_s):
                if asked_s == time_s:
                    crops[row] = self._crop(frame, places[row], short_side, size)

        self._show(times_s, keep)
        return crops

    def views(self, views: Sequence[View]) -> list[list[np.ndarray]]:
        """Returns the pictures of each view, in the order asked; see `MediaFile.views`."""
        shown: list[dict[float, np.ndarray]] = [{} for _ in views]
        wanted = [set(view.times_s) for view in views]
        centre = np.full(2, np.nextafter(0.5, 0))  # where a pixel is over, it is cut off after the crop

        def keep(frame: av.VideoFrame, time_s: float) -> None:
            for view, times_s, found in zip(views, wanted, shown, strict=True):
                if time_s not in times_s:
                    continue
                if view.size is not None:
                    found[time_s] = self._crop(frame, centre, view.short_side, view.size)
                else:
                    found[time_s] = self._uncut(frame, view.short_side)

        self._show([time_s for view in views for time_s in view.times_s], keep)
        return [[found[time_s] for time_s in view.times_s] for view, found in zip(views, shown, strict=True)]

    def key_times(self, times_s: Sequence[float]) -> list[float]:
        """Returns the time of the last key frame at or before each time; see `MediaFile.key_times`."""
        found: dict[float, float] = {}
        for visit in self._visits(times_s):
            found.update(visit.key_times())
        return [found[t] for t in times_s]

    def _show(self, times_s: Sequence[float], keep: Callable[[av.VideoFrame, float], None]) -> None:
        """Calls `keep` once for each of the times, in any order, with the frame on screen then."""
        for visit in self._visits(times_s):
            visit.show(keep)

    def _visits(self, times_s: Sequence[float]) -> Iterator[_Visit]:
        waiting = sorted(set(times_s))
        while waiting:
            visit = _Visit(self._source, waiting)
            yield visit
            waiting = waiting[len(visit.times_s) :]

    def _uncut(self, frame: av.VideoFrame, short_side: int | None) -> np.ndarray:
        """Returns uint8[h, w, 3]."""
        width, height = stored.display_size(frame, self._source.video.sample_aspect_ratio, short_side)
        return np.ascontiguousarray(stored.upright(self._to_rgb(frame, width, height), frame))

    def _crop(self, frame: av.VideoFrame, place: np.ndarray, short_side: int, size: int) -> np.ndarray:
        """Returns uint8[size, size, 3]: the crop is cut out first and scaled second, so that no other pixel is scaled."""
        aspect = self._source.video.sample_aspect_ratio
        scaled = stored.display_size(frame, aspect, short_side)
        x, y = stored.corner(frame, scaled, place, size)
        if stored.is_planar(frame):
            return stored.upright(self._to_rgb(stored.cut(frame, scaled, (x, y), size), size, size), frame)
        return stored.upright(self._to_rgb(frame, *scaled)[y : y + size, x : x + size], frame)

    def _to_rgb(self, frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """Scales the stored picture and converts it to RGB.

        Bilinear: swscale widens its filter by the scale factor when it shrinks a picture, so it averages like
        "area" and does not alias, and unlike that it is smooth when it enlarges one.
        """
        return self._scaler.reformat(
            frame,
            width,
            height,
            "rgb24",
            interpolation=Interpolation.BILINEAR,
            dst_color_range="JPEG",
            threads=1,
        ).to_ndarray()


class _Visit:
    """One seek and the wanted times that are best served from there.

    Attributes:
      times_s: the leading part of the wanted times (ascending) that this visit serves.
    """

    def __init__(self, source: Source, waiting: list[float]):
        self._source = source
        self._last_try = False
        tick_s = float(source.video.time_base)
        self._slack = min(0.51, _ROUNDING_S / tick_s)
        self.times_s = waiting[:1]
        for attempt in range(3):
            self._position(attempt, waiting[0])
            # Only now, as Matroska loads its index at the first seek.
            self.times_s = self._group(waiting)
            self._read(self._tick(self.times_s[0]), self._tick(self.times_s[-1]))
            if self._last_try or self._landed() <= self._tick(waiting[0]):
                return

    def _landed(self) -> float:
        """Returns the time stamp of the first picture read, infinite if there is none."""
        for packet in self._packets[:1]:
            stamp = packet.dts if packet.pts is None else packet.pts
            return math.inf if stamp is None else stamp
        return math.inf

    def _tick(self, time_s: float) -> float:
        numerator, denominator = self._source.tick(self._source.video)
        return time_s * denominator / numerator + self._slack

    def _key_before(self, time_s: float) -> int | None:
        """Returns the index entry of the key frame to start from, None without a useful index."""
        entries = self._source.video.index_entries
        if not self._source.trusts_index or len(entries) < 2:
            return None
        return entries.search_timestamp(math.floor(self._tick(time_s)))

    def _position(self, attempt: int, time_s: float) -> None:
        """Moves the reading head: first where the container says, then earlier, then to the beginning."""
        source, stream = self._source, self._source.video
        if attempt == 0:
            key = self._key_before(time_s)
            near = time_s - source.start_s(stream) < 0.5 if key is None else key <= 0
            if (source.fresh and near) or not source.seek(stream, time_s):
                self._rewind()
            return
        landed = self._landed() if attempt == 1 else math.inf
        if landed < math.inf:
            # MP4 indexes by decoding time, so one key frame earlier is certain; others just sought badly.
            dts = self._packets[0].dts
            if source.is_mov and dts is not None:
                target_s = float((dts - 1) * stream.time_base)
            else:
                target_s = 2 * time_s - float(landed * stream.time_base) - _GAP_S
            if target_s > source.start_s(stream) and source.seek(stream, target_s):
                return
        self._rewind()

    def _rewind(self) -> None:
        if not self._source.fresh:
            self._source.rewind()
        self._last_try = True

    def _group(self, waiting: list[float]) -> list[float]:
        key = self._key_before(waiting[0])
        count = 1
        for before_s, time_s in pairwise(waiting):
            apart = time_s - before_s > _GAP_S if key is None else self._key_before(time_s) != key
            if apart:
                break
            count += 1
        return waiting[:count]

    def _read(self, first: float, last: float) -> None:
        """Collects the packets from the key frame before tick `first` to the last that matters for `last`."""
        self._packets: list[av.Packet] = []
        self._at_end = False
        beyond = 0
        for packet in self._source.packets(self._source.video):
            if packet.size == 0:
                self._at_end = True
                return
            if not self._packets and not packet.is_keyframe:
                continue
            if packet.is_keyframe and packet.pts is not None and packet.pts <= first:
                # Reading is cheap, decoding is not: start from the last key frame that does.
                self._packets = []
            self._packets.append(packet)
            beyond += packet.pts is not None and packet.pts > last
            if beyond >= _MOST_REORDERED or (packet.dts is not None and packet.dts > last and beyond):
                return

    def key_times(self) -> dict[float, float]:
        """Returns the time of the last key frame at or before each of `times_s`."""
        tick_s = float(self._source.video.time_base)
        keys = [p.pts for p in self._packets if p.is_keyframe]
        if not keys:
            raise BadMedia("damaged", _NO_KEY)
        if any(key is None for key in keys):
            return {t: t for t in self.times_s}  # It cannot be said which; any frame will do.
        if keys[0] > self._tick(self.times_s[0]):
            raise BadMedia("incomplete", _EARLY)
        return {t: max(key for key in keys if key <= self._tick(t)) * tick_s for t in self.times_s}

    def show(self, keep: Callable[[av.VideoFrame, float], None]) -> None:
        """Calls `keep` with the frame on screen at each of `times_s`, and the time."""
        if not self._packets:
            raise BadMedia("damaged", _NO_KEY)
        if any(p.pts is None for p in self._packets):
            self._show_without_plan(keep)
            return
        first = self._packets[0].pts
        stamps = sorted(p.pts for p in self._packets if p.pts >= first and not p.is_discard)
        wanted: dict[int, list[float]] = {}
        for t in self.times_s:
            wanted.setdefault(self._on_screen(stamps, self._tick(t)), []).append(t)
        if not self._decode(wanted, keep):
            self._show_without_plan(keep)

    def _on_screen(self, stamps: list[int], tick: float) -> int:
        place = bisect_right(stamps, tick)
        if place == 0:
            raise BadMedia("incomplete", _EARLY)
        if place == len(stamps) and self._at_end:
            last = next(p for p in self._packets if p.pts == stamps[-1])
            self._check_end(stamps[-1], last.duration, tick)
        return stamps[place - 1]

    def _check_end(self, last: int, duration: int | None, tick: float) -> None:
        stream = self._source.video
        if not duration and stream.average_rate:
            duration = float(1 / (stream.average_rate * stream.time_base))
        if tick - self._slack > last + (duration or 0) + EDGE_S / stream.time_base:
            raise BadMedia("incomplete", _LATE)

    def _decode(self, wanted: dict[int, list[float]], keep: Callable[[av.VideoFrame, float], None]) -> bool:
        """Decodes the frames with the wanted time stamps; False if all decodes without showing one of them.

        Raises:
          BadMedia: damaged, if a wanted frame or one since its key frame cannot be decoded.
        """
        context = self._source.video.codec_context
        skips = context.name in _CAN_SKIP
        tainted, taint = set(), False
        unfed, unseen = set(wanted), set(wanted)
        for packet in [*self._packets, None]:
            if packet is not None and not unfed:
                continue  # Everything wanted was handed in: drain the decoder instead of decoding further.
            if packet is not None:
                unfed.discard(packet.pts)
                context.skip_frame = "NONREF" if skips and packet.pts not in wanted else "DEFAULT"
                taint = (taint and not packet.is_keyframe) or packet.is_corrupt
            decoded, failed = _feed(context, packet)
            taint |= failed
            if taint and packet is not None:
                tainted.add(packet.pts)
            for frame in decoded:
                if frame.pts not in wanted:
                    continue
                if frame.is_corrupt or frame.pts in tainted:
                    raise BadMedia("damaged", _BROKEN)
                for t in wanted[frame.pts]:
                    keep(frame, t)
                unseen.discard(frame.pts)
            if not unseen:
                return True
        if tainted:
            raise BadMedia("damaged", _BROKEN)
        return False

    def _show_without_plan(self, keep: Callable[[av.VideoFrame, float], None]) -> None:
        """As `show`, by the decoder's own time stamps: for packets without any, and hidden frames (VP8)."""
        context = self._source.video.codec_context
        context.flush_buffers()
        context.skip_frame = "DEFAULT"
        best: dict[float, av.VideoFrame] = {}
        last = None
        for packet in [*self._packets, None]:
            decoded, failed = _feed(context, packet)
            if failed:
                raise BadMedia("damaged", _BROKEN)
            for frame in (f for f in decoded if f.pts is not None):
                last = frame if last is None or frame.pts > last.pts else last
                for t in self.times_s:
                    if frame.pts <= self._tick(t) and (t not in best or best[t].pts < frame.pts):
                        best[t] = frame
        if last is None or len(best) < len(self.times_s):
            raise BadMedia("incomplete", _EARLY)
        if self._at_end:
            for t in self.times_s:
                self._check_end(last.pts, last.duration, self._tick(t))
        if any(frame.is_corrupt for frame in best.values()):
            raise BadMedia("damaged", _BROKEN)
        for t, frame in best.items():
            keep(frame, t)


def _feed(context, packet: av.Packet | None) -> tuple[list[av.VideoFrame], bool]:
    """Returns the frames that come out and whether the decoder refused the packet (None drains it)."""
    try:
        return context.decode(packet), False
    except MEDIA_ERRORS:
        return [], True
