"""The sheets of units: for the best channels of each map, the clips that excite them most, and where in them."""

from typing import Any

import numpy as np

from avc_jax.report import media
from avc_jax.report.read import Run
from avc_jax.report.text import NBSP, esc, missing, number, percent, plural

# Name -> number of axes; the first one is that of the units, the second that of their clips, the strongest first.
_BOTH = dict(unit=1, unit_label=1, agree=1, selectivity=1, clip=2, label=2, activation=2, frame_s=2, sound_s=2, frame=5, heat=4)
FIELDS = {"video": _BOTH, "audio": _BOTH | dict(waveform=3, spectrogram=4, hz=2, rate_hz=0, window_s=0)}
TITLES = {"video": "Units of the picture", "audio": "Units of the sound"}
BUDGET = 2_000_000


def section(run: Run) -> str:
    """Both sheets, or what to do to get them."""
    sheets = {modality: found for modality in FIELDS if (found := read(run, modality)) is not None}
    if not sheets:
        return missing(
            "No units yet: the evaluator <code>pictures</code> of <code>config.evaluators</code> chooses them, at the end of a "
            "run or by the same command with <code>--mode=evaluate</code>."
        )
    toggle = '<label class="toggle"><input type="checkbox" checked> show where the unit is active</label>'
    return (
        "<p>A unit is one channel of a trunk's last map. Its strongest clips say what it has come to respond to. What lies "
        "outside the line, and is dark, excites it less than half as much as the strongest place of that picture. The number "
        "under each clip is the unit's activation.</p>"
        f"{toggle}{''.join(_sheet(run, modality, found) for modality, found in sheets.items())}"
    )


def read(run: Run, modality: str) -> dict[str, np.ndarray] | None:
    """The arrays of a modality; None if there are none, with a note if they are not what they should be."""
    name = f"pictures/units_{modality}.npz"
    found = run.arrays(name, FIELDS[modality])
    if found is None or not len(found["unit"]):
        return None
    if found["frame"].shape[-1] != 3 or (modality == "audio" and not _is_heard(found)):
        run.notes.append(f"{name} holds arrays of unexpected shapes.")
        return None
    return found | {"heat": np.nan_to_num(found["heat"])}


def _is_heard(found: dict[str, np.ndarray]) -> bool:
    hz, known = found["hz"][0], 1 <= float(found["rate_hz"]) <= 1e6 and float(found["window_s"]) > 0
    return known and len(hz) == found["spectrogram"].shape[2] > 1 and bool(np.all(np.diff(hz) > 0))


def _sheet(run: Run, modality: str, found: dict[str, np.ndarray]) -> str:
    """A title, what is shown in words, and a card for each unit."""
    scale = media.colour_scale(found["spectrogram"]) if modality == "audio" else None
    budget = media.Budget(BUDGET)
    cards = "".join(_card(modality, {name: array[i] if array.ndim else array for name, array in found.items()}, scale, budget)
                    for i in range(len(found["unit"])))
    return (f'<h3>{TITLES[modality]}</h3><p>{_told(run, modality, found)}</p>{scale.legend() if scale else ""}'
            f'<div class="units">{cards}</div>')


def _told(run: Run, modality: str, found: dict[str, np.ndarray]) -> str:
    """How the units were chosen, and their number beside that of the untrained network."""
    shown, top = found["clip"].shape
    trained, untrained = (run.part("evaluate", "pictures", which, "units", modality) for which in ("trained", "untrained"))
    labelled = any(found["unit_label"])
    key, form = ("agreement", percent) if labelled else ("selectivity", "{:.1f}".format)
    ours, theirs = (number(part.get(key)) for part in (trained, untrained))
    if labelled:
        said = f"The {plural(shown, 'unit')} whose {top} strongest clips agree most on a class, at most one for each class."
        told = "<strong>{}</strong> of these clips are of their unit's class"
    else:
        said = f"The clips have no labels, so these are the {plural(shown, 'unit')} whose {top} strongest clips stand out most."
        told = "They stand out from the other clips by <strong>{}</strong> standard deviations"
    if ours is None:
        return said
    beside = "" if theirs is None else f"; in the untrained network, for units chosen in the same way, it is {form(theirs)}"
    return f"{said} {told.format(form(ours))}{beside}."


def _card(modality: str, unit: dict[str, Any], scale: media.Scale | None, budget: media.Budget) -> str:
    """One unit as an <article> with its clips in a list."""
    name, top = f"unit-{modality}-{int(unit['unit'])}", len(unit["clip"])
    label = str(unit["unit_label"])
    said = f"{int(unit['agree'])} of {top}" if label else f"{float(unit['selectivity']):.1f}{NBSP}std"
    kind = f'<span class="kind">{esc(label)}</span> ' if label else ""
    items = "".join(_item(unit, i, scale, budget) for i in range(top))
    return (f'<article class="unit {modality}" aria-labelledby="{name}"><h4 id="{name}">Unit {int(unit["unit"])} {kind}'
            f'<span class="mark">{said}</span></h4><ol class="items">{items}</ol></article>')


def _item(unit: dict[str, Any], i: int, scale: media.Scale | None, budget: media.Budget) -> str:
    """One clip that excites the unit: where, how much, and what it is."""
    if scale is None:
        shown = _seen(unit, i, budget, media.heat(unit["heat"][i]))
    else:
        shown = _seen(unit, i, budget) + _heard(unit, i, scale, budget)
    label, own = str(unit["label"][i]), str(unit["unit_label"])
    mark = "" if not label else (f'<span class="{"right" if label == own else "wrong"}">'
                                 f'{chr(0x2713) if label == own else chr(0x2717)} {esc(label)}</span> ')
    return (f'<li class="item">{shown}<p class="caption">{mark}<span class="sub" title="activation">'
            f'{float(unit["activation"][i]):#.3g}</span></p></li>')


def _seen(unit: dict[str, Any], i: int, budget: media.Budget, over: str = "") -> str:
    frame = media.frame_image(unit["frame"][i])
    if not budget.take(frame, over):
        return missing("Picture left out to keep the page small.")
    alt = f"Frame of {media.moment(unit['clip'][i], float(unit['frame_s'][i]))}"
    if over:
        alt += f", {place_in_words(unit['heat'][i], ('top', 'middle', 'bottom'), ('left', 'centre', 'right'))}"
    return media.frame_box(frame, alt, over)


def _heard(unit: dict[str, Any], i: int, scale: media.Scale, budget: media.Budget) -> str:
    picture, over = media.spectrogram_image(scale(unit["spectrogram"][i])), media.heat(unit["heat"][i][::-1])
    sound = media.mp3(unit["waveform"][i], float(unit["rate_hz"]))
    if not budget.take(picture, over, sound):
        return missing("Sound left out to keep the page small.")
    axes, at = media.Axes(unit["hz"], float(unit["window_s"])), media.moment(unit["clip"][i], float(unit["sound_s"][i]))
    alt = f"Spectrogram of {at}, {strongest_in_words(unit['heat'][i], axes)}"
    player = media.player(sound, f"Sound of {at}")
    return f"{media.spectrogram_box(picture, alt, axes, over)}{player}"


def place_in_words(heat: np.ndarray, rows: tuple[str, ...], columns: tuple[str, ...]) -> str:
    """Where float[h, w] is largest, as one of the thirds of the picture, for who does not see it."""
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return f"strongest at the {rows[3 * int(row) // heat.shape[0]]} {columns[3 * int(column) // heat.shape[1]]}"


def strongest_in_words(heat: np.ndarray, axes: media.Axes) -> str:
    """When and at which frequency float[F, T] is largest."""
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    at_s = (int(column) + 0.5) / heat.shape[1] * axes.window_s
    return f"strongest at {at_s:.2f} s and {axes.hz[int(row)] / 1000:.2g} kHz"
