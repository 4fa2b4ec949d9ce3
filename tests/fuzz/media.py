"""Videos and sounds of many containers and codecs, read as training reads them."""

import dataclasses
import functools
from pathlib import Path

import av
import media
import numpy as np
from fuzz.mutate import Damage, damage

from avc_jax import errors
from avc_jax.data import decoders, files
from avc_jax.data.moments import Format, Request

APART = False  # decoding is apart by itself, and how it goes on after a crash is what is tried here
FORM = Format(short_side=48, size=40, window_s=0.5, rate_hz=16000)
_WHOLE = files.Stretch(-np.inf, np.inf)
_SECONDS, _VARIANTS, _UNWRITTEN = 5.0, 4, 0x5A5B
# How far from a sound its file may matter: what is decoded to settle, and packets that the codec lets overlap.
_BEFORE_S, _AFTER_S = 1.5, 1.0
_VIDEOS: dict[str, dict] = {
    "h264_aac.mp4": {}, "h264_aac_b.mp4": {"bframes": 2}, "h264_opus.mkv": {}, "vp9_opus.webm": {}, "mpeg4_mp3.avi": {},
    "mpeg1_mp2.mpg": {}, "h264_aac.ts": {}, "h264_pcm.mov": {"acodec": "pcm_s16le"},
    "vp8_opus.webm": {"vcodec": "libvpx"},
    "turned.mp4": {"rotation": 90}, "flac.mkv": {"acodec": "flac"}, "mpeg4_aac.mp4": {"vcodec": "mpeg4"}}
_SOUNDS = {"pcm.wav": {}, "flac.flac": {}, "mp3.mp3": {}, "float.wav": {"acodec": "pcm_f32le", "sample_format": "flt"}}


@dataclasses.dataclass(frozen=True)
class Good:
    """A good file.

    Attributes:
      name, data: of the file.
      packets: (begin, end) of the bytes of each packet, whether it is a picture, and the seconds that depend on it.
    """

    name: str
    data: bytes
    packets: tuple[tuple[int, int, bool, float, float], ...]


def prepare(folder: Path) -> None:
    for name, options in _VIDEOS.items():
        media.flash_and_click(folder / name, seconds=_SECONDS, gop=12, rate_hz=48000 if "opus" in name else 16000, **options)
    media.index_first(folder / "h264_aac.mp4", folder / "index_first.mp4")
    for name, options in _SOUNDS.items():
        media.tone_video(folder / name, video=False, seconds=_SECONDS, rate_hz=16000, **options)


def check(folder: Path, scratch: Path, number: int, keep: Path | None) -> str:
    rng = np.random.default_rng([1, number])
    names = _names(folder)
    name, variant = names[int(rng.integers(len(names)))], int(rng.integers(_VARIANTS))
    good = _good(folder, name)
    damaged = damage(good.data, rng, [_good(folder, other).data for other in names[:: len(names) // 3]])
    path = scratch / name
    damaged.write(path, number, keep)
    try:
        found = _read(path, variant)
    except errors.BadMedia as error:
        return error.kind
    _compare(found, _baseline(folder, name, variant), good, damaged)
    return "read"


@functools.cache
def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@functools.cache
def _baseline(folder: Path, name: str, variant: int):
    return _read(folder / name, variant)


def _read(path: Path, variant: int):
    """(frames, when, sounds, when); of a sound alone only these."""
    if path.name in _SOUNDS:
        sound = decoders.read_sound(path, _WHOLE, FORM.rate_hz)
        return [], np.zeros(0), sound[None], np.zeros(1)
    rng = np.random.default_rng(variant)
    count = 1 + variant % 2
    every = np.ones((1, count), bool)
    request = Request(np.zeros(1, np.int64), rng.random((1, count, 2)), rng.random((1, count, 2)), every, every, every,
                      np.arange(count)[None], np.full((count, FORM.samples), _UNWRITTEN, np.int16))
    found = decoders.read(path, _WHOLE, request, FORM)
    return found.frames, found.frame_s, request.waveform, found.sound_s


def _compare(found, expected, good: Good, damaged: Damage) -> None:
    frames, frame_s, sounds, sound_s = found
    assert all(frame.shape == (FORM.size, FORM.size, 3) and frame.dtype == np.uint8 for frame in frames)
    assert len(frames) == len(expected[0]) and np.isfinite(frame_s).all() and np.isfinite(sound_s).all()
    assert not (sounds == _UNWRITTEN).all(axis=1).any(), "a sound was not written"
    hurt = _hurt(good, damaged)
    if hurt is None or not (np.array_equal(frame_s, expected[1]) and np.array_equal(sound_s, expected[3])):
        return  # The damage may be of the clock, of which no checksum tells.
    pictures, tones = ([span for is_picture, *span in hurt if is_picture is wanted] for wanted in (True, False))
    if frames and not _meet(pictures, frame_s.min() - 1.0, frame_s.max() + 0.5):
        assert all(map(np.array_equal, frames, expected[0])), f"{good.name}: pictures away from the {damaged.kind} differ"
    if frames and not _meet(tones, sound_s.min() - _BEFORE_S, sound_s.max() + FORM.window_s + _AFTER_S):
        assert np.array_equal(sounds, expected[2]), f"{good.name}: sounds away from the {damaged.kind} differ"


def _hurt(good: Good, damaged: Damage) -> list[tuple[bool, float, float]] | None:
    """The packets that were damaged; None if anything else was, too."""
    if damaged.touched is None:
        return None
    found = []
    for begin, end in damaged.touched:
        packet = next((packet for packet in good.packets if packet[0] <= begin and end <= packet[1]), None)
        if packet is None:
            return None
        found.append(packet[2:])
    return found


def _meet(spans: list[list[float]], begin_s: float, end_s: float) -> bool:
    return any(begin < end_s and end > begin_s for begin, end in spans)


@functools.cache
def _good(folder: Path, name: str) -> Good:
    data, packets = (folder / name).read_bytes(), []
    with av.open(str(folder / name)) as container:
        key_s: list[float] = []
        for packet in container.demux():
            if not packet.size or packet.pts is None:
                continue
            begin, time_s = _find(data, packet), float(packet.pts * packet.time_base)
            is_picture = packet.stream.type == "video"
            if is_picture and packet.is_keyframe:
                key_s.append(time_s)
            if begin >= 0:
                end_s = time_s + float((packet.duration or 0) * packet.time_base)
                packets.append([begin, begin + packet.size, is_picture, time_s, end_s])
    for packet in packets:
        if packet[2]:  # A picture matters to all up to the next key frame, and, as those may lie before it, from the last one on.
            packet[3] = max((time_s for time_s in key_s if time_s <= packet[3]), default=0.0)
            packet[4] = min((time_s for time_s in key_s if time_s > packet[3]), default=np.inf)
    return Good(name, data, tuple(map(tuple, packets)))


def _find(data: bytes, packet: av.Packet) -> int:
    """Where in a file the bytes of a packet begin; -1 where they lie in pieces, or where nobody can say."""
    content = bytes(packet)
    if packet.pos is not None and data[packet.pos : packet.pos + packet.size] == content:
        return packet.pos
    return data.find(content) if data.count(content) == 1 else -1
