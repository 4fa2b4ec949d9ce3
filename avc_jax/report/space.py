"""The spaces of the embeddings in two dimensions: clips coloured by class, the untrained network beside the trained one."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from avc_jax.report.read import Run
from avc_jax.report.text import esc, missing, number, percent, plural

# Name -> number of axes; the first one is that of the clips.
FIELDS = dict(label=1, video=2, audio=2)
NETWORKS = ("untrained", "trained")
TITLES = {"video": "Frames", "audio": "Sounds"}
# Colours of page.css; with the shapes, classes are told apart without colours.
COLOURS = 8
# Marks of about the same weight around (0, 0), as SVG path data.
SHAPES = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "m-3.5 -3.5h7v7h-7z",
    "m0 -4.8l4.4 7.8h-8.8z",
    "m0 -5l5 5l-5 5l-5 -5z",
    "m-1.4 -4.6h2.8v3.2h3.2v2.8h-3.2v3.2h-2.8v-3.2h-3.2v-2.8h3.2z",
    "m0 4.8l-4.4 -7.8h8.8z",
)
SIDE, MARGIN = 400, 12


@dataclasses.dataclass(frozen=True)
class Space:
    """The clips of one network. label: '' where unknown; points: modality -> float[n, 2]."""

    label: np.ndarray
    points: dict[str, np.ndarray]


def read(run: Run) -> dict[str, Space]:
    """Network -> its clips, those networks that are there."""
    found = {}
    for name in NETWORKS:
        arrays = run.arrays(f"pictures/space_{name}.npz", FIELDS)
        if arrays is None or not len(arrays["label"]):
            continue
        points = {modality: arrays[modality] for modality in TITLES}
        if any(p.shape[1] != 2 or not np.isfinite(p).all() for p in points.values()):
            run.notes.append(f"pictures/space_{name}.npz holds arrays of unexpected shapes.")
            continue
        found[name] = Space(arrays["label"], points)
    return found


def section(run: Run) -> str:
    """Both modalities, each with its networks side by side and one legend, or what to do to get them."""
    spaces = read(run)
    if not spaces:
        return missing(
            "No map of the embeddings yet: the evaluator <code>pictures</code> of <code>config.evaluators</code> draws it, at "
            "the end of a run or by the same command with <code>--mode=evaluate</code>."
        )
    labels = sorted({str(label) for space in spaces.values() for label in space.label if label})
    size = max(len(space.label) for space in spaces.values())
    said = (f"<p>Each mark is one of {plural(size, 'clip')}; t-SNE puts clips near each other whose embeddings are. Only what is "
            "near means something: neither axes nor distances across the picture do.")
    if labels:
        said += " Choose a class to see where it is."
    rows = "".join(_row(run, modality, spaces, labels) for modality in TITLES)
    return f'{said}</p><div class="space">{_legend(labels, spaces)}{rows}</div>'


def _row(run: Run, modality: str, spaces: dict[str, Space], labels: Sequence[str]) -> str:
    figures = "".join(_figure(name, modality, space, labels) for name, space in spaces.items())
    return f'<h3>{TITLES[modality]}</h3><p>{_told(run, modality)}</p><div class="maps">{figures}</div>'


def _told(run: Run, modality: str) -> str:
    """How often a clip's nearest neighbour is of its class."""
    theirs, ours = (number(run.part("evaluate", "pictures", name, "neighbours").get(modality)) for name in NETWORKS)
    chance = number(run.part("evaluate", "pictures", "trained").get("neighbours_chance"))
    if ours is None:
        return "The clips have no labels, so all marks are alike."
    beside = [f"{percent(theirs)} in the untrained network"] if theirs is not None else []
    beside += [f"{percent(chance)} by chance"] if chance is not None else []
    said = f"The nearest neighbour of a clip is of the clip's own class for <strong>{percent(ours)}</strong> of them"
    return said + (f", {' and '.join(beside)}." if beside else ".")


def _figure(name: str, modality: str, space: Space, labels: Sequence[str]) -> str:
    """One scatter plot; a path for each class, so that a page of thousands of marks stays small."""
    points = _scaled(space.points[modality])
    paths = "".join(
        _marks(points[[str(label) == wanted for label in space.label]], place) for place, wanted in enumerate(["", *labels], -1))
    said = f"t-SNE of the {TITLES[modality].lower()} of {plural(len(points), 'clip')}, {name} network"
    return (f'<figure class="chart"><figcaption>{name.capitalize()}</figcaption><svg class="scatter" role="img" '
            f'aria-label="{said}" viewBox="0 0 {SIDE} {SIDE}">{paths}</svg></figure>')


def _scaled(points: np.ndarray) -> np.ndarray:
    """Points over the whole of the picture, with the same scale along both axes."""
    low, high = points.min(0), points.max(0)
    span = float((high - low).max()) or 1.0
    return (points - (low + high) / 2) / span * (SIDE - 2 * MARGIN) + SIDE / 2


def _marks(points: np.ndarray, place: int) -> str:
    """The clips of one class; place -1: those of none."""
    data = "".join(f"M{x:.0f} {y:.0f}{shape(place)}" for x, y in points)
    return f'<path class="{colour(place)}" data-class="{place}" d="{data}"/>' if data else ""


def colour(place: int) -> str:
    """CSS class of the place-th class of clips."""
    return "cnone" if place < 0 else f"c{place % COLOURS}"


def shape(place: int) -> str:
    """Its mark. Colour and shape together repeat after 48 classes."""
    return SHAPES[0] if place < 0 else SHAPES[(place % COLOURS + place // COLOURS) % len(SHAPES)]


def _legend(labels: Sequence[str], spaces: dict[str, Space]) -> str:
    """A button for each class, with its mark; the page's script makes the others faint when one is pressed."""
    if not labels:
        return ""
    clips = next(reversed(spaces.values())).label
    buttons = "".join(
        f'<button type="button" aria-pressed="false" data-class="{place}"><svg viewBox="-6 -6 12 12" aria-hidden="true">'
        f'<path class="{colour(place)}" d="M0 0{shape(place)}"/></svg>{esc(label)} '
        f'<span class="sub">{int((clips == label).sum())}</span></button>' for place, label in enumerate(labels))
    return f'<div class="choices" role="group" aria-label="Classes">{buttons}</div>'
