"""The transfer task: how many sounds get their class, which classes are taken for which, class by class, fold by fold."""

import dataclasses
from typing import Any

import numpy as np

from avc_jax.report import scores, text
from avc_jax.report.read import Run
from avc_jax.report.text import count, esc, missing, number, percent, plural

# Confusions that are told in words.
MAX_TOLD = 3


@dataclasses.dataclass(frozen=True)
class Task:
    """What the classifier said. confusion: int[classes, classes], a row for each true class."""

    accuracy: float
    classes: list[str]
    confusion: np.ndarray
    folds: list[dict[str, Any]]


def read(run: Run) -> Task | None:
    """The task on the trained network's features; None if it is not there, or is not what it should be."""
    found = run.part("evaluate", "transfer", "trained")
    accuracy, classes, rows = number(found.get("accuracy")), found.get("classes"), found.get("confusion")
    if accuracy is None or not isinstance(classes, list) or not classes or not isinstance(rows, list):
        return None
    right = len(rows) == len(classes) and all(isinstance(row, list) and len(row) == len(classes) for row in rows)
    if not right or not all((number(cell) or 0) >= 0 and isinstance(cell, int) for row in rows for cell in row):
        run.notes.append("results.json: the confusion matrix of evaluate.transfer is not a square of counts.")
        return None
    folds = found.get("folds")
    folds = [fold for fold in folds if isinstance(fold, dict)] if isinstance(folds, list) else []
    return Task(accuracy, [str(name) for name in classes], np.array(rows), folds)


def section(run: Run) -> str:
    """Sentence, matrix and tables, or what to do to get them."""
    task = read(run)
    if task is None:
        return missing(
            "No transfer task yet: name labelled sounds in the section <code>transfer</code> of the config (see "
            "<code>docs/config.md</code>), and run the same command with <code>--mode=evaluate</code>."
        )
    return f'{_summary(run, task)}<div class="beside">{_matrix(task)}<div>{_classes(run, task)}</div></div>{_folds(task)}'


def _summary(run: Run, task: Task) -> str:
    """Accuracy beside the untrained network's and chance, and the commonest confusions, in words."""
    beside = []
    untrained = number(run.part("evaluate", "transfer", "untrained").get("accuracy"))
    if untrained is not None:
        beside.append(f"{percent(untrained)} with those of the untrained network")
    chance = next((score.chance for score in scores.read(run).get("transfer", []) if score.chance is not None), None)
    if chance is not None:
        beside.append(f"{percent(chance)} by chance")
    said = f"<p>A linear classifier on the sound features gives <strong>{percent(task.accuracy)}</strong> of " \
           f"{plural(int(task.confusion.sum()), 'sound')} their class out of {len(task.classes)}"
    said += f", {' and '.join(beside)}." if beside else "."
    wrong = task.confusion * ~np.eye(len(task.classes), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_TOLD]
    told = [f"{esc(task.classes[true])} for {esc(task.classes[taken])} ({count(wrong[true, taken])} of "
            f"{count(task.confusion[true].sum())})" for true, taken in (divmod(int(at), len(wrong)) for at in order)
            if wrong[true, taken]]
    return said + (f" What is mistaken most: {', '.join(told)}.</p>" if told else " Nothing is mistaken.</p>")


def _matrix(task: Task) -> str:
    """The confusion matrix; a cell is as strong as its share of its row, and says its count."""
    shares = task.confusion / np.maximum(task.confusion.sum(1, keepdims=True), 1)
    head = "".join(f'<th scope="col"><span>{esc(name)}</span></th>' for name in task.classes)
    body = "".join(
        f'<tr><th scope="row">{esc(name)}</th>{"".join(_cell(*cell) for cell in zip(row, part, strict=True))}</tr>'
        for name, row, part in zip(task.classes, task.confusion.tolist(), shares.tolist(), strict=True)
    )
    return (
        '<div><p class="sub">Rows: what was heard. Columns: what the classifier said. Counts; the stronger, the larger the share '
        'of the row.</p><div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix"><table class="confusion">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def _cell(amount: int, share: float) -> str:
    if not amount:
        return "<td></td>"
    return f'<td style="--share:{share * 100:.0f}%">{amount}</td>'


def _classes(run: Run, task: Task) -> str:
    """Each class with its share right beside the untrained network's, the best first."""
    untrained = run.part("evaluate", "transfer", "untrained", "per_class")
    total = task.confusion.sum(1)
    right = np.diag(task.confusion) / np.maximum(total, 1)
    rows = []
    for place in np.argsort(-right, kind="stable"):
        name, share = task.classes[place], float(right[place])
        before = untrained.get(name)
        before = number(before.get("accuracy")) if isinstance(before, dict) else None
        rows.append(f'<tr><th scope="row">{esc(name)}</th><td>{count(total[place])}</td><td>{percent(share)}</td>'
                    f"<td>{percent(before)}</td><td>{bar(share, before)}</td></tr>")
    columns = ["class", "sounds", "right", "untrained", "0 to 100 %"]
    return text.table("Accuracy of each class", "shares", columns, "".join(rows))


def bar(share: float, before: float | None) -> str:
    """A share as a bar, with a stroke where the untrained network is; the numbers stand beside it."""
    mark = "" if before is None else f'<span class="before" style="left:{before * 100:.1f}%"></span>'
    return f'<div class="bar plain" aria-hidden="true"><span style="width:{share * 100:.1f}%"></span>{mark}</div>'


def _folds(task: Task) -> str:
    """Each fold with its accuracy and the cost that was chosen for it."""
    if not task.folds:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{esc(fold.get("fold"))}</th><td>{count(number(fold.get("clips")))}</td>'
        f'<td>{percent(number(fold.get("accuracy")))}</td><td>{text.short(number(fold.get("cost")))}</td></tr>'
        for fold in task.folds
    )
    table = text.table("Accuracy of each fold", "shares", ["fold", "sounds", "right", "cost C"], rows)
    return f"<details><summary>{plural(len(task.folds), 'fold')}</summary>{table}</details>"
