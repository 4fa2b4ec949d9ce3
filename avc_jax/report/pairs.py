"""The sheet of true and false pairs: each frame beside its sound, and what the network said."""

import dataclasses
from typing import Any

import numpy as np

from avc_jax.report import media
from avc_jax.report.read import Run
from avc_jax.report.text import NBSP, NONE, missing, number, plural

# Name -> number of axes; the first one is that of the pairs.
FIELDS = dict(frame=4, waveform=2, spectrogram=3, hz=2, score=1, label=1, frame_clip=1, sound_clip=1, frame_s=1, sound_s=1)
MAX_PAIRS = 24
SOUND_BUDGET = 2_000_000
PICTURE_BUDGET = 3_000_000
# The network says "together" above this predicted probability, as the evaluation counts it.
THRESHOLD = 0.5


@dataclasses.dataclass
class Sheet:
    """The pairs as arrays, first axis n (pairs); see FIELDS. rate_hz: samples/s; window_s: seconds heard."""

    arrays: dict[str, np.ndarray]
    rate_hz: float
    window_s: float

    def __len__(self) -> int:
        return len(self.arrays["frame"])

    def axes(self) -> media.Axes:
        """What the sides of the spectrograms mean."""
        return media.Axes(self.arrays["hz"][0], self.window_s)


@dataclasses.dataclass
class Spent:
    """What the pairs may still spend on sounds and pictures, and how levels become colours."""

    scale: media.Scale
    sounds: media.Budget = dataclasses.field(default_factory=lambda: media.Budget(SOUND_BUDGET))
    pictures: media.Budget = dataclasses.field(default_factory=lambda: media.Budget(PICTURE_BUDGET))


def read(run: Run) -> Sheet | None:
    """Reads pairs.npz; None if it is absent, None with a note if it is not what it should be."""
    arrays = run.arrays("pairs.npz", FIELDS | dict(rate_hz=0, window_s=0))
    if arrays is None:
        return None
    rate, window = float(arrays.pop("rate_hz")), float(arrays.pop("window_s"))
    if arrays["frame"].shape[-1] != 3 or not (1 <= rate <= 1e6 and window > 0):
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
    truth = np.asarray(sheet.arrays["label"]).astype(int)
    shown = [np.flatnonzero(truth == value)[: MAX_PAIRS // 2].tolist() for value in (1, 0)]
    spent = Spent(media.colour_scale(sheet.arrays["spectrogram"]))
    groups = []
    for label, chosen in zip((1, 0), shown, strict=True):
        cards = "".join(card(sheet, i, spent) for i in chosen)
        title, meaning = _GROUPS[label]
        scored = [o for o in (outcome(sheet, i) for i in chosen) if o is not None]
        told = f"{sum(scored)} of {len(scored)} judged right" if scored else "none in this sample"
        groups.append(f'<h3>{title}</h3><p class="sub">{meaning} {told}.</p><div class="pairs">{cards}</div>')
    rest = len(sheet) - sum(map(len, shown))
    more = f"<p>{plural(rest, 'more pair')} in <code>pairs.npz</code>.</p>" if rest else ""
    return f"{_intro(sheet)}{spent.scale.legend()}{''.join(groups)}{more}"


_GROUPS = {
    1: ("True pairs", "Frame and sound come from the same clip."),
    0: ("False pairs", "The sound was taken from another clip."),
}


def _intro(sheet: Sheet) -> str:
    """How to read the sheet."""
    return (
        f"<p>Each card shows one frame and the {sheet.window_s:.3g}{NBSP}s of sound the network was given "
        "with it, in the order the evaluation stored them. The bar is the predicted probability that they "
        f"belong together; above {THRESHOLD}, the network says <q>together</q>.</p>"
    )


def outcome(sheet: Sheet, i: int) -> bool | None:
    """Whether pair i was judged right; None if it has no finite score."""
    score = number(float(sheet.arrays["score"][i]))
    return None if score is None else (score > THRESHOLD) == bool(sheet.arrays["label"][i])


def card(sheet: Sheet, i: int, spent: Spent) -> str:
    """One pair as an <article>."""
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
        f"{_pictures(sheet, field, spent)}"
        f'<p class="score"><span class="says">{says}</span><span class="bar" aria-hidden="true">'
        f'<span style="width:{width:.1f}%"></span></span><span class="value">{shown}</span></p>'
        f"{_sound(sheet, i, field, spent)}{_origin(field)}</article>"
    )


def _pictures(sheet: Sheet, field: dict[str, Any], spent: Spent) -> str:
    """Frame and spectrogram side by side."""
    frame, picture = media.frame_image(field["frame"]), media.spectrogram_image(spent.scale(field["spectrogram"]))
    if not spent.pictures.take(frame, picture):
        return missing("Pictures left out to keep the page small.")
    seen = media.frame_box(frame, "Frame of " + _at(field, "frame"))
    heard = media.spectrogram_box(picture, "Spectrogram of " + _at(field, "sound"), sheet.axes())
    return f'<div class="media">{seen}{heard}</div>'


def _at(field: dict[str, Any], which: str) -> str:
    """Clip and moment of a half of the pair, escaped."""
    return media.moment(field[f"{which}_clip"], float(field[f"{which}_s"]))


def _origin(field: dict[str, Any]) -> str:
    """Which clips frame and sound come from, and where in them."""
    rows = ((name, _at(field, name)) for name in ("frame", "sound"))
    return "<dl>" + "".join(f"<dt>{n}</dt><dd>{v}</dd>" for n, v in rows) + "</dl>"


def _sound(sheet: Sheet, i: int, field: dict[str, Any], spent: Spent) -> str:
    """A player, unless the page's sounds have used up their room."""
    data = media.mp3(field["waveform"], sheet.rate_hz)
    if not spent.sounds.take(data):
        return '<p class="sub">Sound left out to keep the page small.</p>'
    return media.player(data, f"Sound of pair {i + 1}, {_at(field, 'sound')}")
