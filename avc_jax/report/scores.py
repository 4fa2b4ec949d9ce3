"""The scoreboard: every number that an evaluator gave, beside that of the untrained network and of guessing."""

import dataclasses
from typing import Any

from avc_jax.report import text
from avc_jax.report.read import Run
from avc_jax.report.text import NBSP, esc, missing, number, percent

# Evaluators in the order of the page, with what they ask; others follow under their own names.
TITLES = {
    "avc": "Do this frame and this sound belong together?",
    "transfer": "Classes of sounds, by a linear classifier on the sound features",
    "probe": "Classes of pictures, by a linear layer on the frozen picture features",
    "clustering": "Do clusters of embeddings agree with classes?",
    "concepts": "Units that respond to one class",
    "retrieval": "Finding the other half of a clip",
    "dimensions": "Dimensions that stand for a word",
    "baselines": "Against networks that were trained with labels",
    "pictures": "Neighbours, units and places in the pictures below",
}


@dataclasses.dataclass(frozen=True)
class Score:
    """A `Row` of an evaluator (see avc_jax/evaluators/base.py) as the page shows it; None: not known."""

    name: str
    trained: float | None
    untrained: float | None
    chance: float | None
    is_share: bool
    note: str
    lower_is_better: bool

    def shown(self, value: float | None) -> str:
        """One of the numbers."""
        if value is None or self.is_share:
            return percent(value)
        return f"{value:g}" if value == round(value) and abs(value) < 1e6 else f"{value:#.3g}"

    def gain(self) -> float | None:
        """How far the trained network is ahead of the untrained one; below 0: behind."""
        if self.trained is None or self.untrained is None:
            return None
        return (self.trained - self.untrained) * (-1 if self.lower_is_better else 1)

    def gain_in_words(self) -> str:
        """What training brought."""
        gain = self.gain()
        if gain is None or self.trained is None or self.untrained is None:
            return ""
        if gain == 0:
            return "= the same"
        sign = "\N{BLACK UP-POINTING TRIANGLE}" if gain > 0 else "\N{BLACK DOWN-POINTING TRIANGLE}"
        said = "better" if gain > 0 else "worse"
        if self.is_share:
            return f"{sign} {abs(gain) * 100:.1f}{NBSP}points {said}"
        if self.untrained > 0 and not self.lower_is_better:
            return f"{sign} {self.trained / self.untrained:.2g} times as much"
        return f"{sign} {said} by {abs(gain):.3g}"


def read(run: Run) -> dict[str, list[Score]]:
    """Evaluator -> its scores, in the order of the page."""
    names = [*TITLES, *(name for name in sorted(run.part("evaluate")) if name not in TITLES)]
    found = {name: [_score(row) for row in _rows(run, name)] for name in names}
    return {name: scores for name, scores in found.items() if scores}


def _rows(run: Run, name: str) -> list[dict[str, Any]]:
    rows = run.part("evaluate", name).get("rows")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _score(row: dict[str, Any]) -> Score:
    trained, untrained, chance = (number(row.get(key)) for key in ("trained", "untrained", "chance"))
    return Score(str(row.get("name", "")), trained, untrained, chance, row.get("form") == "share", str(row.get("note") or ""),
                 row.get("lower_is_better") is True)


def section(run: Run) -> str:
    """Sentence, table and notes, or what to do to get them."""
    groups = read(run)
    notes = "".join(_note(run, name) for name in run.part("evaluate"))
    if not groups:
        return missing(
            "No scores yet: the evaluators that <code>config.evaluators</code> names write them to <code>results.json</code>, "
            "at the end of a run or by the same command with <code>--mode=evaluate</code>."
        ) + notes
    body = "".join(
        f'<tr class="group"><th scope="colgroup" colspan="6">{esc(TITLES.get(name, name))}</th></tr>'
        + "".join(_line(score) for score in scores)
        for name, scores in groups.items()
    )
    columns = ["what", "trained", "untrained", "chance", "on a line", "training brought"]
    summary = _summary([score for scores in groups.values() for score in scores])
    return f"{summary}{_KEY}{text.table('Scores', 'scores', columns, body)}{notes}"


_KEY = (
    '<p class="key sub" aria-hidden="true"><svg><circle class="point" cx="50%" cy="50%" r="5.5"/></svg> trained '
    '<svg><circle class="ring" cx="50%" cy="50%" r="5"/></svg> untrained '
    '<svg><line class="reference" x1="50%" x2="50%" y1="2" y2="18"/></svg> chance, on a line from 0 to 100 % (to the largest '
    "where numbers are beyond 1)</p>"
)


def _summary(scores: list[Score]) -> str:
    """On how many numbers training helped, and on which it did not."""
    known = [(score, gain) for score in scores if (gain := score.gain()) is not None]
    if not known:
        return "<p>There are no numbers of the untrained network to compare with.</p>"
    behind = [score.name for score, gain in known if gain <= 0]
    said = f"<p>The trained network is ahead of the same network before its first step on <strong>{len(known) - len(behind)} " \
           f"of {text.plural(len(known), 'number')}</strong>."
    if behind:
        said += f" It is not on: {esc('; '.join(behind))}."
    return said + "</p>"


def _line(score: Score) -> str:
    note = f'<span class="sub">{esc(score.note)}</span>' if score.note else ""
    behind = (score.gain() or 0) < 0
    cells = "".join(f'<td data-name="{name}">{score.shown(value)}</td>' for name, value in
                    (("trained", score.trained), ("untrained", score.untrained), ("chance", score.chance)))
    return (f'<tr><th scope="row">{esc(score.name)}{note}</th>{cells}<td class="strip">{_strip(score)}</td>'
            f'<td class="gain{" behind" if behind else ""}">{score.gain_in_words()}</td></tr>')


def _strip(score: Score) -> str:
    """The numbers of a row on a line: a ring for the untrained network, a dot for the trained one, a stroke for chance."""
    top = max([1.0, *(v for v in (score.trained, score.untrained, score.chance) if v is not None)])

    def at(value: float) -> str:
        return f"{min(max(value / top, 0.0), 1.0) * 100:.1f}%"

    out = ['<line class="base" x1="0" x2="100%" y1="50%" y2="50%"/>']
    if score.chance is not None:
        out.append(f'<line class="reference" x1="{at(score.chance)}" x2="{at(score.chance)}" y1="2" y2="18"/>')
    if score.untrained is not None and score.trained is not None:
        out.append(f'<line class="step" x1="{at(score.untrained)}" x2="{at(score.trained)}" y1="50%" y2="50%"/>')
    if score.untrained is not None:
        out.append(f'<circle class="ring" cx="{at(score.untrained)}" cy="50%" r="5"/>')
    if score.trained is not None:
        out.append(f'<circle class="point" cx="{at(score.trained)}" cy="50%" r="5.5"/>')
    return f'<svg aria-hidden="true">{"".join(out)}</svg>'


def _note(run: Run, name: str) -> str:
    """What an evaluator had to say, such as why it could not be asked."""
    note = run.part("evaluate", name).get("note")
    return f'<p class="note"><b>{esc(TITLES.get(name, name))}</b> {esc(note)}</p>' if isinstance(note, str) and note else ""
