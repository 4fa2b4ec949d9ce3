"""The curves of a run: which recorded numbers go into which chart, and the table behind them."""

from avc_jax.report import charts, scores, text
from avc_jax.report.read import Run
from avc_jax.report.text import count, esc, percent, short

# Rows of the table under the charts; the file itself has them all.
MAX_ROWS = 40


def section(run: Run) -> str:
    """All charts with their table, or what to do to get them."""
    found = [chart for chart in (_loss(run), _accuracy(run), _speed(run), _wait(run)) if chart]
    if not found:
        return text.missing(
            "No curves yet: <code>metrics.jsonl</code> in the work directory is absent or holds no training "
            "numbers. Training writes its first line after the first logging interval; write the report "
            "again then."
        )
    return f'<div class="charts">{"".join(charts.line_chart(c) for c in found)}</div>{_table(run) if run.metrics else ""}'


def story(name: str, x: list[float], y: list[float | None], form=short) -> str:
    """One sentence: first and last value, and where values were not finite."""
    finite = [(a, b) for a, b in zip(x, y, strict=True) if b is not None]
    lost = [a for a, b in zip(x, y, strict=True) if b is None]
    if not finite:
        return f"{name}: no finite value recorded."
    (first, start), (last, end) = finite[0], finite[-1]
    if len(finite) == 1:
        told = f"{name}: {form(start)} at step {count(first)}."
    else:
        told = f"{name}: {form(start)} at step {count(first)}, {form(end)} at step {count(last)}."
    if lost:
        told += f" Not finite at {text.plural(len(lost), 'recorded step')}, first at {count(lost[0])}."
    return told


def _of_pairs(run: Run) -> list[str]:
    """Names of the evaluations that ask what training asks; what others measure has its place among the scores."""
    return [name for name in run.evaluation_names() if name == "avc" or name not in scores.TITLES]


def _loss(run: Run) -> charts.Chart | None:
    """Training loss, and the evaluation's where one was recorded."""
    x, y = run.series("train/loss")
    if not x:
        return None
    series = [charts.Series("training", x, y, "train", smooth=True)]
    told = story("Training loss", x, y, _loss_text)
    for name in _of_pairs(run):
        held_x, held_y = run.series(f"evaluate/{name}/loss")
        if held_x:
            label = "held-out" if name == "avc" else f"held-out ({name})"
            series.append(charts.Series(label, held_x, held_y, "heldout", dots=True))
            told += " " + story(f"{label.capitalize()} loss", held_x, held_y, _loss_text)
    chart = charts.Chart("loss", "Loss", "loss", series, _loss_text, caption=told)
    top, most = charts.y_axis(chart).high, max((v for v in y if v is not None), default=0.0)
    if most > top:
        cut = f" Values up to {_loss_text(most)} are drawn at the chart's upper edge."
        chart = charts.dataclasses.replace(chart, caption=told + cut)
    return chart


def _loss_text(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else short(value)


def _accuracy(run: Run) -> charts.Chart | None:
    """Accuracy in training and on held-out clips, with chance."""
    series, told = [], []
    x, y = run.series("train/accuracy")
    if x:
        series.append(charts.Series("training", x, y, "train", smooth=True))
        told.append(story("Training accuracy", x, y, percent))
    for name in _of_pairs(run):
        x, y = run.series(f"evaluate/{name}/accuracy")
        final = run.part("evaluate", name)
        at, value = text.number(final.get("step")), text.number(final.get("accuracy"))
        interval = None
        if at is not None and value is not None and (not x or at >= x[-1]):
            # The final evaluation is the same quantity, and the only one that comes with an interval.
            known = [(a, b) for a, b in zip(x, y, strict=True) if a < at]
            x, y = [a for a, _ in known] + [at], [b for _, b in known] + [value]
            interval = ci95(final)
        if x:
            label = "held-out" if name == "avc" else f"held-out ({name})"
            series.append(charts.Series(label, x, y, "heldout", dots=True, interval=interval))
            told.append(story(f"{label.capitalize()} accuracy", x, y, percent))
    if not series:
        return None
    lowest = min([v for s in series for v in s.y if v is not None] + [0.4])
    return charts.Chart(
        "accuracy",
        "Accuracy",
        "share right",
        series,
        _share_text,
        (max(0.0, int(lowest * 5) / 5), 1.0),
        (0.5, "chance"),
        " ".join(told),
    )


def ci95(found: dict) -> tuple[float, float] | None:
    """The 95 % interval of an evaluation as (low, high) shares, None where absent or malformed."""
    pair = found.get("ci95")
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        return None
    low, high = text.number(pair[0]), text.number(pair[1])
    return None if low is None or high is None else (low, high)


def _speed(run: Run) -> charts.Chart | None:
    """Pairs per second."""
    x, y = run.series("train/pairs_per_s")
    if not x:
        return None
    series = [charts.Series("pairs per second", x, y, "train", smooth=True)]
    return charts.Chart("speed", "Speed", "pairs/s", series, caption=story("Pairs per second", x, y))


def _wait(run: Run) -> charts.Chart | None:
    """Share of the time that training waited for data."""
    x, y = run.series("train/data_wait")
    if not x:
        return None
    series = [charts.Series("waiting for data", x, y, "wait", smooth=True)]
    told = story("Share of time spent waiting for data", x, y, percent)
    top = max([v for v in y if v is not None] + [0.0])
    limit = next(t for t in (0.1, 0.2, 0.5, 1.0) if top <= t or t == 1.0)
    title = "Waiting for data"
    return charts.Chart("wait", title, "share of time", series, _share_text, (0.0, limit), caption=told)


def _share_text(value: float) -> str:
    return percent(value, 0 if round(value * 100, 6) % 1 == 0 else 1)


def _table(run: Run) -> str:
    """The recorded numbers, evenly thinned; steps with an evaluation are always kept."""
    known = ["train/loss", "train/accuracy", "train/pairs_per_s", "train/data_wait", "train/lr"]
    recorded = {key for row in run.metrics for key in row} - {"step", "time"}
    held = sorted(k for k in recorded if k.startswith("evaluate/") and k.endswith("/accuracy"))
    keys = [k for k in known[:2] + held + known[2:] if k in recorded]
    every = max(1, -(-len(run.metrics) // MAX_ROWS))
    last = len(run.metrics) - 1
    evaluated = [i for i, row in enumerate(run.metrics) if any(k in row for k in held)][-MAX_ROWS:]
    chosen = sorted(set(range(0, last + 1, every)) | set(evaluated) | {last})
    body = "".join(
        f'<tr><th scope="row">{count(row["step"])}</th>'
        + "".join(f"<td>{_cell(row, k)}</td>" for k in keys)
        + "</tr>"
        for row in (run.metrics[i] for i in chosen)
    )
    return (
        f"<details><summary>The numbers behind the curves</summary><p>{len(chosen)} of {count(last + 1)} "
        "recorded steps; all are in <code>metrics.jsonl</code>.</p>"
        f"{text.table('Recorded numbers', 'numbers', ['step', *keys], body)}</details>"
    )


def _cell(row: dict[str, float | None], key: str) -> str:
    """One value in the units its column is read in."""
    if key not in row:
        return ""
    value = row[key]
    if value is None:
        return "not finite"
    if key.endswith(("/accuracy", "/data_wait")):
        return percent(value)
    return esc(f"{value:.4g}" if abs(value) < 1e4 else short(value))
