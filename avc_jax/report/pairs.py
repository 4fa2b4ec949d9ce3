"""The sheet of true and false pairs: each frame beside its sound, and what the network said."""

import base64
import dataclasses
import io
import math
import wave
import zipfile
import zlib
from typing import Any

import numpy as np
from PIL import Image

from avc_jax.report.charts import ticks
from avc_jax.report.read import Run
from avc_jax.report.text import NBSP, NONE, esc, missing, number, plural

FIELDS = (
    "frame",
    "waveform",
    "spectrogram",
    "score",
    "label",
    "frame_clip",
    "sound_clip",
    "frame_s",
    "sound_s",
)
MAX_PAIRS = 24
# Pixels along a side of an embedded picture; frames are shown at about half of it.
MAX_SIDE = 256
# Base64 characters spent on sounds and on pictures; with the rest of the page they stay under 10 MB.
SOUND_BUDGET = 6_000_000
PICTURE_BUDGET = 3_000_000
# 80 dB in the levels of a spectrogram, which are the natural logarithm of the magnitude over 5.
MAX_RANGE = math.log(10 ** (80 / 20)) / 5
# The network says "together" above this predicted probability, as the evaluation counts it.
THRESHOLD = 0.5


@dataclasses.dataclass
class Sheet:
    """The pairs as arrays, first axis n (pairs); see FIELDS. rate_hz: samples/s; window_s: seconds heard."""

    arrays: dict[str, np.ndarray]
    rate_hz: float
    window_s: float

    def __len__(self) -> int:
        return min(len(array) for array in self.arrays.values())


def read(run: Run) -> Sheet | None:
    """Reads pairs.npz; None if it is absent, None with a note if it is not what it should be."""
    try:
        with np.load(run.workdir / "pairs.npz", allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in FIELDS}
            rate, window = float(stored["rate_hz"]), float(stored["window_s"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        run.notes.append(f"pairs.npz could not be read ({type(error).__name__}: {error}).")
        return None
    right = arrays["frame"].ndim == 4 and arrays["frame"].shape[-1] == 3 and arrays["frame"].size
    right = right and arrays["spectrogram"].ndim == 3 and arrays["spectrogram"].size
    right = right and arrays["waveform"].ndim == 2 and all(arrays[k].ndim == 1 for k in FIELDS[3:])
    if not right or not (1 <= rate <= 1e6 and window > 0):
        run.notes.append("pairs.npz holds arrays of unexpected shapes.")
        return None
    return Sheet(arrays, rate, window)


def section(run: Run) -> str:
    """The sheet in two groups, or what to do to get it."""
    sheet = read(run)
    if sheet is None or not len(sheet):
        return missing(
            "No pairs yet: the evaluation writes <code>pairs.npz</code> into the work directory, at "
            "the end of a run or by the same command with <code>--mode=evaluate</code>."
        )
    truth = np.asarray(sheet.arrays["label"][: len(sheet)]).astype(int)
    shown = [np.flatnonzero(truth == value)[: MAX_PAIRS // 2].tolist() for value in (1, 0)]
    spent = {"sound": 0, "picture": 0}
    scale = colour_scale(sheet.arrays["spectrogram"])
    groups = []
    for label, chosen in zip((1, 0), shown, strict=True):
        cards = "".join(card(sheet, i, scale, spent) for i in chosen)
        title, meaning = _GROUPS[label]
        scored = [o for o in (outcome(sheet, i) for i in chosen) if o is not None]
        told = f"{sum(scored)} of {len(scored)} judged right" if scored else "none in this sample"
        groups.append(f'<h3>{title}</h3><p class="sub">{meaning} {told}.</p><div class="pairs">{cards}</div>')
    rest = len(sheet) - sum(map(len, shown))
    more = f"<p>{plural(rest, 'more pair')} in <code>pairs.npz</code>.</p>" if rest else ""
    return f"{_intro(sheet, scale)}{''.join(groups)}{more}"


_GROUPS = {
    1: ("True pairs", "Frame and sound come from the same clip."),
    0: ("False pairs", "The sound was taken from another clip."),
}


def _intro(sheet: Sheet, scale: tuple[float, float]) -> str:
    """How to read the sheet, with the colour scale of the spectrograms."""
    ramp = png(np.linspace(0, 1, 128, dtype=np.float32)[None].repeat(6, 0))
    return (
        f"<p>Each card shows one frame and the {sheet.window_s:.3g}{NBSP}s of sound the network was given "
        "with it, in the order the evaluation stored them. The bar is the predicted probability that they "
        f"belong together; above {THRESHOLD}, the network says <q>together</q>.</p>"
        '<p class="ramp"><span>quiet</span>'
        f'<img src="{ramp}" alt="Colour scale of the spectrograms, dark is quiet, light is loud" width="128" '
        'height="10"><span>loud</span> '
        '<span class="sub">one scale for all, in scaled log magnitude: '
        f"{scale[0]:.2g} to {scale[1]:.2g}</span></p>"
    )


def outcome(sheet: Sheet, i: int) -> bool | None:
    """Whether pair i was judged right; None if it has no finite score."""
    score = number(float(sheet.arrays["score"][i]))
    return None if score is None else (score > THRESHOLD) == bool(sheet.arrays["label"][i])


def card(sheet: Sheet, i: int, scale: tuple[float, float], spent: dict[str, int]) -> str:
    """One pair as an <article>. spent: base64 characters used so far, updated."""
    field = {name: array[i] for name, array in sheet.arrays.items()}
    right, score = outcome(sheet, i), number(float(field["score"]))
    kind = "true pair" if field["label"] == 1 else "false pair"
    mark = {True: "\N{CHECK MARK} right", False: "\N{BALLOT X} wrong", None: "no score"}[right]
    look = {True: "right", False: "wrong", None: "none"}[right]
    says = "no score" if score is None else "says together" if score > THRESHOLD else "says apart"
    width = 0.0 if score is None else min(max(score, 0.0), 1.0) * 100
    shown = NONE if score is None else f"{score:.2f}"
    return (
        f'<article class="pair {look}" aria-labelledby="pair-{i}"><h4 id="pair-{i}">Pair {i + 1} '
        f'<span class="kind">{kind}</span> <span class="mark">{mark}</span></h4>'
        f"{_pictures(sheet, field, scale, spent)}"
        f'<p class="score"><span class="says">{says}</span><span class="bar" aria-hidden="true">'
        f'<span style="width:{width:.1f}%"></span></span><span class="value">{shown}</span></p>'
        f"{_sound(sheet, i, field, spent)}{_origin(field)}</article>"
    )


def _pictures(sheet: Sheet, field: dict[str, Any], scale: tuple[float, float], spent: dict[str, int]) -> str:
    """Frame and spectrogram side by side, the latter with its axes."""
    frame = jpeg(field["frame"])
    low, high = scale
    picture = png((np.nan_to_num(field["spectrogram"].astype(np.float32)) - low) / (high - low))
    spent["picture"] += len(frame) + len(picture)
    if spent["picture"] > PICTURE_BUDGET:
        return missing("Pictures left out to keep the page small.")
    top = sheet.rate_hz / 2000
    said = f"{sheet.window_s:.3g} s across, 0 to {top:.3g} kHz upwards"
    return (
        f'<div class="media"><img class="frame" src="{frame}" alt="Frame of {_at(field, "frame")}">'
        f'<div class="spec"><img src="{picture}" alt="Spectrogram of {_at(field, "sound")}, {said}">'
        f'{_axes(sheet.window_s, top)}<span class="playhead" hidden></span></div></div>'
    )


def _axes(window_s: float, top_khz: float) -> str:
    """Tick labels around a spectrogram: seconds below, kHz at the left."""
    out = []
    for value in ticks(0, top_khz, 3):
        at = f"{(1 - value / top_khz) * 100:.1f}%"
        out.append(f'<line x1="-4" x2="0" y1="{at}" y2="{at}"/>')
        out.append(f'<text x="-6" y="{at}" dy="4" text-anchor="end">{value:g}</text>')
    times = ticks(0, window_s, 2)
    for value in times:
        at = f"{value / window_s * 100:.1f}%"
        out.append(f'<line x1="{at}" x2="{at}" y1="100%" y2="100%" class="down"/>')
        unit = " s" if value == times[-1] else ""
        out.append(f'<text x="{at}" y="100%" dy="16" text-anchor="middle">{value:g}{unit}</text>')
    out.append('<text x="-6" y="0" dy="-8" text-anchor="end">kHz</text>')
    return f'<svg class="area" aria-hidden="true">{"".join(out)}</svg>'


def _at(field: dict[str, Any], which: str) -> str:
    """ "name at 3.20 s", escaped."""
    return f"{esc(field[f'{which}_clip'])} at{NBSP}{float(field[f'{which}_s']):.2f}{NBSP}s"


def _origin(field: dict[str, Any]) -> str:
    """Which clips frame and sound come from, and where in them."""
    rows = ((name, _at(field, name)) for name in ("frame", "sound"))
    return "<dl>" + "".join(f"<dt>{n}</dt><dd>{v}</dd>" for n, v in rows) + "</dl>"


def _sound(sheet: Sheet, i: int, field: dict[str, Any], spent: dict[str, int]) -> str:
    """A player, unless the page's sounds have used up their room."""
    data = wav(field["waveform"], sheet.rate_hz)
    if spent["sound"] + len(data) > SOUND_BUDGET:
        return '<p class="sub">Sound left out to keep the page small.</p>'
    spent["sound"] += len(data)
    label = f"Sound of pair {i + 1}, {_at(field, 'sound')}"
    return f'<audio controls preload="metadata" aria-label="{label}" src="{data}"></audio>'


def wav(samples: np.ndarray, rate_hz: float) -> str:
    """int16[N] mono samples as a data URI of a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(round(rate_hz))
        out.writeframes(np.ascontiguousarray(samples, dtype="<i2").tobytes())
    return _uri("audio/wav", buffer.getvalue())


def jpeg(frame: np.ndarray) -> str:
    """uint8[h,w,3] as a data URI of a JPEG file, at most MAX_SIDE pixels a side."""
    image = Image.fromarray(np.ascontiguousarray(frame, dtype=np.uint8))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return _uri("image/jpeg", buffer.getvalue())


def png(levels: np.ndarray) -> str:
    """float32[F,T] levels 0..1, row 0 at the bottom, as a data URI of a PNG in the spectrogram's colours."""
    image = Image.fromarray(np.ascontiguousarray(levels[::-1], dtype=np.float32))
    size = (min(image.width, MAX_SIDE), min(image.height, MAX_SIDE))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BOX)
    # 256 palette entries: a third of the bytes of the same picture in full colour.
    indexed = Image.fromarray((np.clip(np.asarray(image), 0, 1) * 255).round().astype(np.uint8))
    indexed.putpalette(palette())
    buffer = io.BytesIO()
    indexed.save(buffer, "PNG", optimize=True)
    return _uri("image/png", buffer.getvalue())


def palette() -> bytes:
    """256 RGB triples, dark to light."""
    # Only pages with pairs need it, and it takes longer to import than the rest of the report.
    import matplotlib

    return (matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes()


def colour_scale(spectrograms: np.ndarray) -> tuple[float, float]:
    """Levels (low, high) shown as darkest and lightest, at most MAX_RANGE apart; float[n,F,T]."""
    finite = spectrograms[np.isfinite(spectrograms)]
    low, high = (float(v) for v in np.percentile(finite, (1, 99.7))) if finite.size else (0.0, 1.0)
    # Digital silence, and the empty band above a codec's cut-off, lie at the logarithm's floor.
    low = max(low, high - MAX_RANGE)
    return (low, high) if high > low else (low, low + 1.0)


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
