"""Where in each frame its sound is: how near every cell of the picture's map is to the sound, in the common space."""

from typing import Any

import numpy as np

from avc_jax.report import media
from avc_jax.report.read import Run
from avc_jax.report.text import esc, missing, number, percent
from avc_jax.report.units import place_in_words

# Name -> number of axes; the first one is that of the clips.
FIELDS = dict(clip=1, label=1, frame_s=1, sound_s=1, own=1, other=1, frame=4, heat=3, waveform=2, rate_hz=0)
NETWORKS = ("trained", "untrained")
BUDGET = 1_000_000


def section(run: Run) -> str:
    """A card for each clip, or what to do to get them."""
    found = {name: arrays for name in NETWORKS if (arrays := read(run, name)) is not None}
    if "trained" not in found:
        return missing(_why_not(run))
    trained, untrained = found["trained"], found.get("untrained")
    if untrained is not None and list(untrained["clip"]) != list(trained["clip"]):
        untrained = None
    budget = media.Budget(BUDGET)
    cards = "".join(_card(trained, untrained, i, budget) for i in range(len(trained["clip"])))
    toggle = '<label class="toggle"><input type="checkbox" checked> show where the sound is</label>'
    return f'<p>{_told(run)}</p>{toggle}<div class="pairs">{cards}</div>'


def read(run: Run, network: str) -> dict[str, np.ndarray] | None:
    """The arrays of a network; None if there are none, with a note if they are not what they should be."""
    name = f"pictures/localisation_{network}.npz"
    found = run.arrays(name, FIELDS)
    if found is None or not len(found["clip"]):
        return None
    if found["frame"].shape[-1] != 3 or not 1 <= found["rate_hz"] <= 1e6:
        run.notes.append(f"{name} holds arrays of unexpected shapes.")
        return None
    return found | {"heat": np.nan_to_num(found["heat"])}


def _why_not(run: Run) -> str:
    asked = run.part("evaluate", "pictures", "trained")
    if asked and "localised" not in asked:
        return ("This network compares whole frames with whole sounds, so it has no places to show. Systems whose frames and "
                "sounds have a common space have.")
    return ("No places of sounds yet: the evaluator <code>pictures</code> of <code>config.evaluators</code> finds them for "
            "systems whose frames and sounds have a common space, at the end of a run or with <code>--mode=evaluate</code>.")


def _told(run: Run) -> str:
    """What is shown, and how often it is right, beside the untrained network and chance."""
    said = ("Every cell of the picture's map is compared with the sound of the same moment, by the cosine of the angle between "
            "their embeddings. The line is around the upper half of what each frame has; the numbers are of its best cell.")
    ours, theirs = (number(run.part("evaluate", "pictures", name).get("localised")) for name in NETWORKS)
    if ours is None:
        return said
    beside = f"{percent(theirs)} in the untrained network and " if theirs is not None else ""
    return (f"{said} The best cell of a frame is nearer to its own sound than to that of another clip for "
            f"<strong>{percent(ours)}</strong> of the frames, {beside}{percent(0.5)} by chance.")


def _card(trained: dict[str, Any], untrained: dict[str, Any] | None, i: int, budget: media.Budget) -> str:
    """One clip: where the trained network and where the untrained one finds the sound, and the sound."""
    frame, at = media.frame_image(trained["frame"][i]), media.moment(trained["clip"][i], float(trained["frame_s"][i]))
    shown = (("untrained", untrained), ("trained", trained))
    figures = "".join(_figure(name, arrays, i, frame, at) for name, arrays in shown if arrays is not None)
    sound = media.mp3(trained["waveform"][i], float(trained["rate_hz"]))
    label = str(trained["label"][i])
    title = f'<h3 id="place-{i}">{esc(label) or "Clip"} <span class="kind">{at}</span></h3>'
    if not budget.take(figures, sound):
        return f'<article class="pair" aria-labelledby="place-{i}">{title}{missing("Left out to keep the page small.")}</article>'
    return (f'<article class="pair" aria-labelledby="place-{i}">{title}<div class="media places">{figures}</div>'
            f"{media.player(sound, f'Sound of {at}')}</article>")


def _figure(name: str, arrays: dict[str, Any], i: int, frame: str, at: str) -> str:
    """The frame with the heat of one network, and the cosines of its best cell in words."""
    heat = arrays["heat"][i]
    over = media.heat(heat - heat.min())
    alt = f"Frame of {at}, {name} network, {place_in_words(heat, ('top', 'middle', 'bottom'), ('left', 'centre', 'right'))}"
    told = f"own sound {float(arrays['own'][i]):.2f}, other sound {float(arrays['other'][i]):.2f}"
    return (f'<figure>{media.frame_box(frame, alt, over)}<figcaption><b>{name.capitalize()}</b>'
            f'<span class="sub">{told}</span></figcaption></figure>')
