"""Test media, synthesised: pictures that say their own number, flashes and clicks at known times, and bad
files.

Everything is written with PyAV in a fraction of a second. Times are seconds on the file's clock. The
container
follows from the suffix: .mp4 and .mov (H.264, AAC), .mkv (H.264, Opus), .webm (VP9, Opus), .avi (MPEG-4,
  MP3), .mpg
(MPEG-1, MP2), .ts (H.264, AAC), or whatever `vcodec` and `acodec` name. Typical use:

    path = media.flash_and_click(tmp_path / "a.mp4", fps=25, events_s=[1.0, 3.0])
    image = ...                                  # uint8[64, 96, 3], the frame on screen at some time
    media.is_flash(image), media.frame_number(image)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {
    ".mp4": ("libx264", "aac"),
    ".mov": ("libx264", "aac"),
    ".mkv": ("libx264", "libopus"),
    ".webm": ("libvpx-vp9", "libopus"),
    ".avi": ("mpeg4", "libmp3lame"),
    ".mpg": ("mpeg1video", "mp2"),
    ".ts": ("libx264", "aac"),
    ".wav": (None, "pcm_s16le"),
    ".flac": (None, "flac"),
    ".mp3": (None, "libmp3lame"),
}
FLASH_S = 0.08
CLICK_S = 0.004
_FAST = {
    "libx264": {"preset": "ultrafast", "crf": "20"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
}
_BITS = 12


def flash_and_click(
    path: str | Path,
    *,
    fps: Fraction | float | Sequence[float] = 25,
    events_s: Sequence[float] = (1.0, 3.0, 5.0),
    seconds: float = 6.0,
    rate_hz: int = 48000,
    layout: str = "mono",
    audio_offset_s: float = 0.0,
    video_offset_s: float = 0.0,
    size: tuple[int, int] = (96, 64),
    vcodec: str | None = None,
    acodec: str | None = None,
    gop: int = 25,
    rotation: int | None = None,
    bframes: int = 0,
    video: bool = True,
    audio: bool = True,
) -> Path:
    """Writes a video that flashes and clicks at the same times; returns its path.

    The upper half of a frame is white if it starts within 0.08 s from an event, else dark; the lower half
    shows the number of the frame (`frame_number`). The sound is quiet but for a burst of 4 ms from each event
    on.

    Args:
      fps: frames a second, or for a variable rate the times of all frames.
      audio_offset_s, video_offset_s: that stream starts so much later; events keep their times on the clock.
      size: (width, height) in pixels, even numbers.
      gop: frames from one key frame to the next.
      rotation: degrees counter-clockwise by which a player turns the picture (90, 180, 270 or -90).
      bframes: B-frames between two others (libx264 only).
    """
    events_s = [float(e) for e in events_s]
    times = _frame_times(fps, video_offset_s, seconds)
    flashes = [any(e - 1e-6 <= t < e + FLASH_S for e in events_s) for t in times]
    pictures = (numbered(k, size, flash) for k, flash in enumerate(flashes))
    count = round((seconds - audio_offset_s) * rate_hz)
    return write(
        path,
        pictures=pictures if video else None,
        times_s=times,
        fps=fps,
        size=size,
        sound=clicks([e - audio_offset_s for e in events_s], count, rate_hz) if audio else None,
        rate_hz=rate_hz,
        layout=layout,
        sound_start_s=audio_offset_s,
        vcodec=vcodec,
        acodec=acodec,
        gop=gop,
        rotation=rotation,
        bframes=bframes,
    )


def tone_video(
    path: str | Path,
    *,
    tone_hz: float = 440.0,
    amplitude: float = 0.5,
    seconds: float = 2.0,
    rate_hz: int = 48000,
    layout: str = "mono",
    sample_format: str = "s16",
    video: bool = True,
    size: tuple[int, int] = (96, 64),
    vcodec: str | None = None,
    acodec: str | None = None,
) -> Path:
    """Writes numbered frames at 25 a second with a sine tone in every channel; amplitude 0 makes a silent
    track.

    With `video=False` and a .wav or .flac path, `acodec` and `sample_format` choose the sample type (e.g.
    "pcm_s24le" with "s32", "pcm_f32le" with "flt").
    """
    times = _frame_times(25, 0.0, seconds)
    sound = amplitude * np.sin(2 * np.pi * tone_hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    return write(
        path,
        pictures=(numbered(k, size, False) for k in range(len(times))) if video else None,
        times_s=times,
        fps=25,
        size=size,
        sound=sound,
        rate_hz=rate_hz,
        layout=layout,
        sample_format=sample_format,
        vcodec=vcodec,
        acodec=acodec,
    )


def quarters_video(
    path: str | Path,
    *,
    rotation: int | None = None,
    aspect: Fraction | None = None,
    size: tuple[int, int] = (96, 64),
) -> Path:
    """Writes 1 s of a still picture, stored with the quarters red, green / blue, white (row by row), without
    sound.

    Args:
      rotation: degrees counter-clockwise by which a player turns the picture.
      aspect: width of a pixel divided by its height.
    """
    width, height = size
    image = np.full((height, width, 3), 255, np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    times = _frame_times(25, 0.0, 1.0)
    pictures = (image for _ in times)
    return write(path, pictures=pictures, times_s=times, fps=25, size=size, rotation=rotation, aspect=aspect)


def short_clip(path: str | Path) -> Path:
    """Writes a flash-and-click clip of only 0.3 s."""
    return flash_and_click(path, seconds=0.3, events_s=[0.1])


def truncated(source: str | Path, path: str | Path, fraction: float = 0.5) -> Path:
    """Copies the leading `fraction` of the bytes of a file.

    An .mp4 of ours has its index at the end, so the index is lost unless `index_first` was used.
    """
    data = Path(source).read_bytes()
    Path(path).write_bytes(data[: int(len(data) * fraction)])
    return Path(path)


def index_first(source: str | Path, path: str | Path) -> Path:
    """Copies an .mp4 with its index (moov) moved to the front, as web servers have it."""
    with av.open(str(source)) as old, av.open(str(path), "w", options={"movflags": "faststart"}) as new:
        copies = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                new.mux(packet)
    return Path(path)


def text_file(path: str | Path) -> Path:
    """Writes plain text under whatever name, e.g. one that ends in .mp4."""
    Path(path).write_text("This is not a video.\n" * 50)
    return Path(path)


def empty_file(path: str | Path) -> Path:
    """Writes a file of 0 bytes."""
    Path(path).write_bytes(b"")
    return Path(path)


def numbered(number: int, size: tuple[int, int] = (96, 64), flash: bool = False) -> np.ndarray:
    """Returns uint8[h, w, 3]: the upper half white if `flash`, the lower half 12 bars, the bits of
    `number`.
    """
    width, height = size
    image = np.full((height, width, 3), 255 if flash else 16, np.uint8)
    for bit in range(_BITS):
        bar = slice(bit * width // _BITS, (bit + 1) * width // _BITS)
        image[height // 2 :, bar] = 235 if number >> bit & 1 else 16
    return image


def frame_number(image: np.ndarray) -> int:
    """Reads the number off a picture made by `numbered`, at any scale."""
    height, width = image.shape[:2]
    row = image[height * 5 // 8 : height * 7 // 8].mean((0, 2))
    centres = [(2 * bit + 1) * width // (2 * _BITS) for bit in range(_BITS)]
    return sum(1 << bit for bit, x in enumerate(centres) if row[x] > 127)


def is_flash(image: np.ndarray) -> bool:
    """Returns whether the upper half of a picture made by `numbered` is white."""
    return bool(image[: image.shape[0] * 3 // 8].mean() > 127)


def clicks(events_s: Sequence[float], count: int, rate_hz: int) -> np.ndarray:
    """Returns f64[count]: a faint hum and from each event on a decaying burst of 4 ms, loudest at its
    start.
    """
    sound = 0.001 * np.sin(2 * np.pi * 100 * np.arange(count) / rate_hz)
    length = round(CLICK_S * rate_hz)
    burst = 0.9 * np.cos(np.pi * np.arange(length) * min(0.5, 4000 / rate_hz)) * np.linspace(1, 0, length)
    for event in events_s:
        begin = round(event * rate_hz)
        if 0 <= begin < count - length:
            sound[begin : begin + length] += burst
    return sound


def click_time_s(samples: np.ndarray, start_s: float, rate_hz: int) -> float:
    """Returns when the loudest sample of a window sounds, given the window's start."""
    return start_s + int(np.abs(samples.astype(np.float64)).argmax()) / rate_hz


def write(
    path: str | Path,
    *,
    pictures=None,
    times_s: Sequence[float] = (),
    fps=25,
    size: tuple[int, int] = (96, 64),
    sound: np.ndarray | None = None,
    rate_hz: int = 48000,
    layout: str = "mono",
    sample_format: str = "s16",
    sound_start_s: float = 0.0,
    vcodec: str | None = None,
    acodec: str | None = None,
    gop: int = 25,
    rotation: int | None = None,
    bframes: int = 0,
    aspect: Fraction | None = None,
) -> Path:
    """Writes pictures (uint8[h, w, 3] at `times_s`) and a sound (f64[n] in -1..1, copied to all channels)."""
    path = Path(path)
    usual = CODECS[path.suffix]
    with av.open(str(path), "w") as out:
        streams = []
        if pictures is not None:
            streams.append(_video_stream(out, vcodec or usual[0], fps, size, gop, rotation, bframes, aspect))
        if sound is not None:
            streams.append(_audio_stream(out, acodec or usual[1], rate_hz, layout))
        packets = []
        if pictures is not None:
            packets += _encode(streams[0], _video_frames(pictures, times_s, streams[0]))
        if sound is not None:
            packets += _encode(
                streams[-1], _audio_frames(sound, rate_hz, layout, sample_format, sound_start_s)
            )
        # In the order of time, so that sound and picture lie side by side in the file.
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    return path


def _frame_times(fps, offset_s: float, seconds: float) -> list[float]:
    if isinstance(fps, Sequence):
        return [float(t) for t in fps]
    rate = Fraction(fps)
    return [float(offset_s + k / rate) for k in range(math.ceil((seconds - offset_s) * rate - 1e-9))]


def _video_stream(out, codec, fps, size, gop, rotation, bframes, aspect):
    rate = Fraction(30) if isinstance(fps, Sequence) else Fraction(fps)
    stream = out.add_stream(codec, rate=rate, options=dict(_FAST.get(codec, {})))
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    # MPEG-1, MPEG-4 and AVI count whole frames; the others get room for offsets and variable rates.
    fine = Fraction(1, 90000) if isinstance(fps, Sequence) else 1 / (rate * 100)
    context.time_base = 1 / rate if codec.startswith("mpeg") else fine
    context.gop_size = gop
    context.max_b_frames = bframes
    if aspect is not None:
        context.sample_aspect_ratio = aspect
    if codec == "libx264":
        context.options = {**_FAST[codec], "bf": str(bframes), "sc_threshold": "0", "keyint_min": str(gop)}
    if rotation is not None:
        stream.set_display_rotation(rotation)
    return stream


def _audio_stream(out, codec, rate_hz, layout):
    return out.add_stream(codec, rate=rate_hz, layout=layout)


def _video_frames(pictures, times_s, stream):
    tick = stream.codec_context.time_base
    for time_s, image in zip(times_s, pictures, strict=True):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = round(time_s / tick), tick
        yield frame


def _audio_frames(sound, rate_hz, layout, sample_format, start_s):
    channels = av.AudioLayout(layout).nb_channels
    tiled = np.repeat(np.asarray(sound)[:, None], channels, axis=1).reshape(1, -1)
    if sample_format in ("s16", "s32"):
        kind = np.int16 if sample_format == "s16" else np.int32
        full = np.iinfo(kind).max
        tiled = np.clip(np.round(tiled * full), -full - 1, full).astype(kind)
    else:
        tiled = tiled.astype(np.float32)
    step = 4096 * channels
    for k, begin in enumerate(range(0, tiled.shape[1], step)):
        block = np.ascontiguousarray(tiled[:, begin : begin + step])
        frame = av.AudioFrame.from_ndarray(block, format=sample_format, layout=layout)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = round(start_s * rate_hz) + k * 4096
        yield frame


def _encode(stream, frames) -> list:
    packets = []
    for frame in [*frames, None]:
        packets += stream.encode(frame)
    return packets
