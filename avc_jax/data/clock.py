"""One open media file: its streams, its reading head, and the seconds in which it has something to give.

Every time in `avc_jax.data` is a float in seconds on the container's own timeline: `pts * time_base` of the
stream, as libav reports it after edit lists, codec delay (AAC priming, Opus pre-skip) and late starts.
Nothing is shifted to zero, because a shift per stream is exactly how sound and picture drift apart.
"""

from __future__ import annotations

import gc
import itertools
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av

from avc_jax.errors import BadMedia

# What PyAV raises on bad input: its own tree, and plain errors for absurd sizes or unknown layouts.
MEDIA_ERRORS = (av.FFmpegError, OSError, ValueError, RuntimeError, MemoryError, EOFError)

EDGE_S = 1e-3  # Matroska rounds times to 1 ms, so nothing finer can be asked of the two ends of a stream.
_LEAST_BYTES_PER_S = 20  # A header that promises so little data a second is lying about the seconds.
_COLLECT_EVERY = 250
_closed = itertools.count(1)
_PATIENCE_BYTES = 64 << 20
_VORBIS_START_S = 0.05  # The first Vorbis packet only primes the decoder: it has a time but gives no samples.
_NOT_PICTURES = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
_WORDS = {"video": "picture", "audio": "sound"}


@dataclass(frozen=True)
class Span:
    """Seconds on the file's common clock in which the media exist."""

    start_s: float
    end_s: float


def seconds(ticks: int, tick: tuple[int, int]) -> float:
    """Returns the exactly rounded time of a number of ticks; a tick is (numerator, denominator) of a second.

    Time bases are `fractions.Fraction`s, whose arithmetic took as long as decoding sound.
    """
    return ticks * tick[0] / tick[1]


@contextmanager
def plain_errors(kind: str, detail: str) -> Iterator[None]:
    """Turns whatever PyAV raises inside into BadMedia(kind, detail); what needs too much memory into one of its own."""
    try:
        yield
    except MemoryError as error:
        raise BadMedia("too_large", "Decoding it takes more memory than it may have.") from error
    except MEDIA_ERRORS as error:
        raise BadMedia(kind, detail) from error


class Source:
    """An open container, the one stream of each wanted kind, and whether anything was read from it yet.

    Attributes:
      video, audio: the chosen streams, or None where the kind was not wanted. New objects after `rewind`.
      fresh: True as long as the reading head stands at the very beginning of the file.
      trusts_index: the index of key frames means what it says (MPEG-PS, say, lists all it has seen so far).
    """

    def __init__(self, path: str | os.PathLike, *, video: bool, audio: bool):
        self._path = os.fspath(path)
        self._wanted = {"video": video, "audio": audio}
        self._container: Any = None
        self.video: Any = None
        self.audio: Any = None
        self._open()

    def _open(self) -> None:
        """Opens the file and takes it into use; on failure whatever was open before stays as it is."""
        if not os.path.isfile(self._path):
            raise BadMedia("unreadable", "There is no such file.")
        if os.path.getsize(self._path) == 0:
            raise BadMedia("unreadable", "The file is empty (0 bytes).")
        with plain_errors("unreadable", "The file is no video or sound, or it is too damaged to be opened."):
            # A play list that names other files or addresses must not make us open them.
            options = {"protocol_whitelist": "file"}
            container = av.open(self._path, metadata_errors="replace", options=options)
        if not container.streams:
            raise BadMedia("unreadable", "The file was opened but holds neither pictures nor sound.")
        video, audio = (
            _choose(container, kind) if self._wanted[kind] else None for kind in ("video", "audio")
        )
        # The old container is dropped, not closed: PyAV crashes when a stream of a closed one is touched.
        self._container, self.video, self.audio = container, video, audio
        self._ticks = {s.index: s.time_base.as_integer_ratio() for s in (video, audio) if s is not None}
        self.fresh = True
        names = set(container.format.name.split(","))
        self.is_mov = "mov" in names
        self.trusts_index = bool(names & {"mov", "matroska", "avi"})
        # After a seek in MPEG-PS the time stamps can be one frame off, so such a file is read from its
        # beginning, which does not take long unless it is a whole film.
        self._is_sought = "mpeg" not in names or container.size > _PATIENCE_BYTES

    @property
    def is_open(self) -> bool:
        return self._container is not None

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = self.video = self.audio = None
            # A container of PyAV and its streams refer to each other, so their decoders wait for the garbage collector, which
            # looks at old objects the less often the more there are: with JAX and TensorFlow loaded, memory grew by the visit.
            if next(_closed) % _COLLECT_EVERY == 0:
                gc.collect()

    def tick(self, stream) -> tuple[int, int]:
        """Returns the time base of one of the two streams, for `seconds`."""
        return self._ticks[stream.index]

    def rewind(self) -> None:
        """Opens the file again: the only seek to the beginning that works for every container."""
        self._open()

    def seek(self, stream, time_s: float) -> bool:
        """Moves the reading head to a key frame at or before `time_s`; returns False if the container cannot.

        Where it landed must be read from the packets that follow. Sound in containers other than MP4 is
        sought by the video stream, as only that one is indexed there.
        """
        if not self._is_sought:
            return False
        by = stream
        if not self.is_mov and stream.type == "audio":
            by = next((s for s in self._container.streams if s.type == "video" and _is_decodable(s)), stream)
        self.fresh = False
        try:
            self._container.seek(round(time_s / by.time_base), stream=by, backward=True)
        except MEDIA_ERRORS:
            return False
        return True

    def packets(self, *streams) -> Iterator[av.Packet]:
        """Yields the packets of the streams from the reading head on, then one packet of size 0 per stream.

        A read error ends the file like its end does: what lies behind it does not exist for us.
        """
        keep = {s.index for s in streams}
        for stream in self._container.streams:
            stream.discard = av.stream.Discard.default if stream.index in keep else av.stream.Discard.all
        self.fresh = False
        demuxer = self._container.demux(*streams)
        while True:
            try:
                packet = next(demuxer)
            except StopIteration:
                return
            # IndexError: PyAV stumbles when a new stream turns up midway.
            except (*MEDIA_ERRORS, IndexError):
                break
            yield packet
        for stream in streams:
            last = av.Packet(0)
            last.stream = stream
            yield last

    def header_span(self) -> Span | None:
        """Returns the overlap of the streams as the headers declare it; None if they say nothing credible."""
        spans = []
        for stream in filter(None, (self.video, self.audio)):
            start_s, end_s = self._declared(stream)
            if end_s is None or end_s - start_s > self._container.size / _LEAST_BYTES_PER_S:
                return None
            if self.is_mov and _lies_beyond(stream, self._container.size):
                return None
            spans.append((start_s, end_s))
        return _overlap(spans)

    @property
    def container_start_s(self) -> float:
        """When the first stream starts, as declared; 0 where nothing is."""
        return (self._container.start_time or 0) / av.time_base

    def start_s(self, stream) -> float:
        """Returns when the stream starts, as declared."""
        if stream.start_time is not None:
            return float(stream.start_time * stream.time_base)
        return self.container_start_s

    def _declared(self, stream) -> tuple[float, float | None]:
        start_s, end_s = self.start_s(stream), None
        if stream.duration:
            end_s = start_s + float(stream.duration * stream.time_base)
        elif self._container.duration:
            # Matroska's duration counts from zero, FLV's from the first time stamp: take the earlier end.
            length_s = self._container.duration / av.time_base
            end_s = length_s if length_s > start_s else start_s + length_s
        if stream.codec_context.name == "vorbis":
            start_s += _VORBIS_START_S
        return start_s, end_s

    def measured_span(self) -> Span:
        """Returns the overlap of the streams by reading every packet; only the first of the sound is decoded.

        Raises:
          BadMedia: no_video or no_audio if a wanted stream has no packets, incomplete if they never overlap.
        """
        if not self.fresh:
            self.rewind()
        streams = list(filter(None, (self.video, self.audio)))
        times: dict[str, list[float]] = {s.type: [] for s in streams}
        for packet in self.packets(*streams):
            if packet.size and packet.pts is not None and not packet.is_discard and not packet.is_corrupt:
                times[packet.stream.type] += _packet_times(packet)
        spans = {}
        for kind, ends in times.items():
            if not ends:
                raise BadMedia(f"no_{kind}", f"The {_WORDS[kind]} track is empty.")
            spans[kind] = (min(ends), max(ends))
        if self.audio is not None:
            spans["audio"] = (max(spans["audio"][0], self._first_sound_s()), spans["audio"][1])
        return _overlap(list(spans.values()))

    def _first_sound_s(self) -> float:
        """Returns when decoded sound starts: the first packet of Vorbis and of some AAC gives no samples."""
        self.rewind()
        for packet in self.packets(self.audio):
            try:
                frames = self.audio.codec_context.decode(packet if packet.size else None)
            except MEDIA_ERRORS:
                continue
            if frames:
                return float((frames[0].pts or 0) * self.audio.time_base)
        raise BadMedia("no_audio", "Not one sample of the sound track can be decoded.")


def _choose(container, kind: str):
    """Returns the first decodable stream of the kind, one marked default if any; cover art is no video."""
    streams = [s for s in container.streams if s.type == kind]
    streams = [s for s in streams if not s.disposition & _NOT_PICTURES]
    usable = [s for s in streams if _is_decodable(s)]
    if not streams:
        raise BadMedia(f"no_{kind}", f"The file has no {_WORDS[kind]} track.")
    if not usable:
        raise BadMedia(f"no_{kind}", f"There is no decoder here for the {_WORDS[kind]} track of the file.")
    stream = min(usable, key=lambda s: not s.disposition & av.stream.Disposition.default)
    context = stream.codec_context
    context.thread_count = 1  # The input layer reads many files in parallel; more threads would only compete.
    context.thread_type = "NONE"
    if kind == "video":
        # Without this the H.264 and MPEG decoders paint over broken parts of a picture and report no error.
        context.options = {"err_detect": "explode"}
    return stream


def _is_decodable(stream) -> bool:
    context = stream.codec_context
    if context is None or stream.time_base is None:
        return False
    return stream.type == "video" or context.rate > 0


def _overlap(spans: list[tuple[float, float]]) -> Span:
    start_s, end_s = max(s for s, _ in spans), min(e for _, e in spans)
    if end_s <= start_s:
        raise BadMedia("incomplete", "The sound and the picture of the file never play at the same time.")
    return Span(start_s, end_s)


def _lies_beyond(stream, size: int) -> bool:
    """True if the last indexed sample is not in the file: a download that stopped, its index in front."""
    entries = stream.index_entries
    if len(entries) == 0:
        return False
    last = entries[-1]
    return last.pos + last.size > size


def _packet_times(packet: av.Packet) -> tuple[float, float]:
    """Returns when the content of the packet starts and ends, less the samples it says to skip."""
    stream = packet.stream
    duration = packet.duration or 0
    if not duration and stream.type == "video" and stream.average_rate:
        duration = 1 / (stream.average_rate * stream.time_base)
    start_s = float(packet.pts * stream.time_base)
    end_s = start_s + float(duration * stream.time_base)
    if stream.type == "audio" and packet.has_sidedata("skip_samples"):
        skip, drop = struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))
        start_s += skip / stream.codec_context.rate
        end_s -= drop / stream.codec_context.rate
    return start_s, max(start_s, end_s)
