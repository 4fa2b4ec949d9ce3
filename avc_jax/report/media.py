"""Frames, spectrograms and sounds as the sheets of the page show them: data URIs, axes, heat."""

import base64
import dataclasses
import io
import math
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from avc_jax.report.charts import ticks
from avc_jax.report.text import NBSP, esc

# Pixels along a side of an embedded picture; frames are shown at about half of it.
MAX_SIDE = 256
# Pixels along a side of what lies over a picture: it is smooth, and the browser scales it smoothly.
HEAT_SIDE = 48
# 80 dB in the levels of a spectrogram, which are the natural logarithm of the magnitude over 5.
MAX_RANGE = math.log(10 ** (80 / 20)) / 5
# Sample rates that MP3 knows, and bits per second at which one channel is hard to tell from the sound itself.
MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MP3_BITS_PER_S = 64_000
# Heat from this share of its maximum on lies within the line.
CONTOUR = 0.5


class Budget:
    """Base64 characters that a section of the page may spend, so that the whole stays under 10 MB."""

    def __init__(self, limit: int):
        self._left = limit

    def take(self, *uris: str) -> bool:
        """Whether these still fit; if so they are spent."""
        fits = sum(map(len, uris)) <= self._left
        self._left -= sum(map(len, uris)) * fits
        return fits


@dataclasses.dataclass(frozen=True)
class Scale:
    """How the levels of spectrograms become colours: `low` the darkest, `high` the lightest."""

    low: float
    high: float

    def __call__(self, levels: np.ndarray) -> np.ndarray:
        """float32 0..1 of levels; what is not finite is as quiet as can be."""
        finite = np.nan_to_num(levels.astype(np.float32), nan=self.low, posinf=self.high, neginf=self.low)
        return (finite - self.low) / (self.high - self.low)

    def legend(self) -> str:
        """The colours as a ramp with words."""
        ramp = spectrogram_image(np.linspace(0, 1, 128, dtype=np.float32)[None].repeat(6, 0))
        return (
            f'<p class="ramp"><span>quiet</span><img src="{ramp}" alt="Colour scale of the spectrograms, dark is quiet, light '
            'is loud" width="128" height="10"><span>loud</span> <span class="sub">one scale for all, in scaled log magnitude: '
            f"{self.low:.2g} to {self.high:.2g}</span></p>"
        )


def colour_scale(spectrograms: np.ndarray) -> Scale:
    """The scale for spectrograms float[..., F, T], over at most MAX_RANGE."""
    finite = spectrograms[np.isfinite(spectrograms)]
    low, high = (float(v) for v in np.percentile(finite, (1, 99.7))) if finite.size else (0.0, 1.0)
    # Digital silence, and the empty band above a codec's cut-off, lie at the logarithm's floor.
    low = max(low, high - MAX_RANGE)
    return Scale(low, high if high > low else low + 1.0)


@dataclasses.dataclass(frozen=True)
class Axes:
    """What the sides of a spectrogram mean. hz: of each row, lowest first, ascending; window_s: seconds across."""

    hz: np.ndarray
    window_s: float

    def said(self) -> str:
        """The extent in words, for who does not see it."""
        return f"{self.window_s:.3g} s across, {self.hz[0]:.0f} Hz to {self.hz[-1] / 1000:.3g} kHz upwards"

    def frequencies(self) -> list[tuple[float, str]]:
        """(share of the height from below, label in kHz) of round frequencies."""
        hz = np.asarray(self.hz, float)
        rows = (np.arange(len(hz)) + 0.5) / len(hz)
        if np.allclose(np.diff(hz), hz[1] - hz[0], rtol=1e-3):
            values = np.array(ticks(0, hz[-1] / 1000, 3)) * 1000
        else:
            values = 125.0 * 2 ** np.arange(8)
        kept: list[tuple[float, str]] = []
        for value in values[(values >= hz[0]) & (values <= hz[-1] * 1.001)]:
            at = float(np.interp(value, hz, rows))
            if not kept or at - kept[-1][0] > 0.15:
                kept.append((at, f"{value / 1000:g}"))
        return kept

    def svg(self) -> str:
        """Tick labels around a spectrogram: seconds below, kHz at the left."""
        out = []
        for place, label in self.frequencies():
            at = f"{(1 - place) * 100:.1f}%"
            out.append(f'<line x1="-4" x2="0" y1="{at}" y2="{at}"/>')
            out.append(f'<text x="-6" y="{at}" dy="4" text-anchor="end">{label}</text>')
        times = ticks(0, self.window_s, 2)
        for value in times:
            at = f"{value / self.window_s * 100:.1f}%"
            out.append(f'<line x1="{at}" x2="{at}" y1="100%" y2="100%" class="down"/>')
            last, edge = value == times[-1], value > 0.9 * self.window_s
            out.append(f'<text x="{at}" y="100%" dy="16" text-anchor="{"end" if edge else "middle"}">{value:g}'
                       f'{" s" if last else ""}</text>')
        out.append('<text x="-6" y="0" dy="-8" text-anchor="end">kHz</text>')
        return f'<svg class="area" aria-hidden="true">{"".join(out)}</svg>'


def frame_box(uri: str, alt: str, *over: str) -> str:
    """A frame, and what lies over it. alt: escaped."""
    return f'<div class="frame"><img src="{uri}" alt="{alt}">{"".join(over)}</div>'


def spectrogram_box(uri: str, alt: str, axes: Axes, *over: str) -> str:
    """A spectrogram with its axes, what lies over it, and the line that follows the sound. alt: escaped."""
    return (
        f'<div class="spec"><img src="{uri}" alt="{alt}, {axes.said()}">{"".join(over)}{axes.svg()}'
        '<span class="playhead" hidden></span></div>'
    )


def player(uri: str, label: str) -> str:
    """A sound; the page's script plays one at a time. label: escaped."""
    return f'<audio controls preload="metadata" aria-label="{label}" src="{uri}"></audio>'


def moment(clip: object, at_s: float) -> str:
    """ "name at 3.20 s", escaped."""
    return f"{esc(clip)} at{NBSP}{at_s:.2f}{NBSP}s"


def heat(levels: np.ndarray) -> str:
    """What lies over a picture to show where something is: darkness where it is not, a line around where it is.

    Args:
      levels: float[h, w], row 0 at the top; shown from 0 (or the lowest, where that is below) to their maximum.

    Returns:
      Markup to lie over the picture, for the eye alone: say elsewhere what it shows.
    """
    levels = np.nan_to_num(np.asarray(levels, np.float32))
    low, high = min(0.0, float(levels.min())), float(levels.max())
    level = (levels - low) / (high - low) if high > low else np.zeros_like(levels)
    level = np.clip(np.asarray(Image.fromarray(level).resize((HEAT_SIDE, HEAT_SIDE), Image.Resampling.BILINEAR)), 0, 1)
    # A cell more on every side, as a browser lets a scaled picture fade out at its edges.
    alpha = Image.fromarray((195 * (1 - np.pad(level, 1, "edge")) ** 1.5).astype(np.uint8))
    veil = Image.merge("LA", (Image.new("L", alpha.size, 8), alpha))
    side = f'x="-1" y="-1" width="{HEAT_SIDE + 2}" height="{HEAT_SIDE + 2}" preserveAspectRatio="none"'
    return (
        f'<svg class="heat" viewBox="0 0 {HEAT_SIDE} {HEAT_SIDE}" preserveAspectRatio="none" aria-hidden="true">'
        f'<image href="{_encode(veil, "PNG", optimize=True)}" {side}/><path d="{outline(level)}"/></svg>'
    )


def outline(level: np.ndarray) -> str:
    """SVG path between the places of float[h, w] above CONTOUR and those below, in units of cells; open at the edges."""
    # Only pages with heat need it, see `palette`.
    import contourpy

    rows, columns = level.shape
    x, y = (np.concatenate([[0], np.arange(size) + 0.5, [size]]) for size in (columns, rows))
    lines: Any = contourpy.contour_generator(x, y, np.pad(level, 1, "edge")).lines(CONTOUR)
    return "".join("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in line) for line in lines)


def mp3(samples: np.ndarray, rate_hz: float) -> str:
    """int16[N] mono samples as a data URI of an MP3 file, which every browser plays, at the next rate that MP3 knows."""
    # Only pages with sounds need it, see `palette`.
    import av

    rate = next((rate for rate in MP3_RATES_HZ if rate >= rate_hz), MP3_RATES_HZ[-1])
    source = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.int16)[None], format="s16", layout="mono")
    source.sample_rate, source.time_base, source.pts = round(rate_hz), Fraction(1, round(rate_hz)), 0
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = MP3_BITS_PER_S
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=rate)
        for frame in (*resampler.resample(source), *resampler.resample(None)):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return _uri("audio/mpeg", buffer.getvalue())


def frame_image(frame: np.ndarray) -> str:
    """uint8[h,w,3] as a data URI of a WebP file, at most MAX_SIDE pixels a side."""
    image = Image.fromarray(np.ascontiguousarray(frame, dtype=np.uint8))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return _encode(image, "WEBP", quality=85, method=4)


def spectrogram_image(levels: np.ndarray) -> str:
    """float32[F,T] levels 0..1, row 0 at the bottom, as a data URI of a WebP file in the spectrogram's colours."""
    image = Image.fromarray(np.ascontiguousarray(levels[::-1], dtype=np.float32))
    size = (min(image.width, MAX_SIDE), min(image.height, MAX_SIDE))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BOX)
    coloured = palette()[(np.clip(np.asarray(image), 0, 1) * 255).round().astype(np.uint8)]
    return _encode(Image.fromarray(coloured), "WEBP", quality=88, method=4)


def palette() -> np.ndarray:
    """uint8[256, 3] RGB, dark to light."""
    # Only pages with spectrograms need it, and it takes longer to import than the rest of the report.
    import matplotlib

    return (matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def _encode(image: Image.Image, form: str, **options) -> str:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return _uri(f"image/{form.lower()}", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
