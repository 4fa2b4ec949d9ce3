"""The facts around the curves: verdict, key figures, data, config, versions, how to reproduce."""

import json
import shlex
from collections import Counter
from typing import Any

from avc_jax import systems
from avc_jax.report import text
from avc_jax.report.curves import ci95
from avc_jax.report.read import Run
from avc_jax.report.text import count, esc, number, percent

CHANCE = 0.5
MAX_QUARANTINED = 20


def names(run: Run) -> tuple[str, str]:
    """System name and the data root's last folder, unescaped; the latter may be empty."""
    system = run.config.get("system", run.config.get("model"))
    if isinstance(system, dict):
        system = system.get("name")
    root = str(run.part("data").get("root") or _find(run.config, ("root", "data_root", "data_dir")) or "")
    folder = root.rstrip("/").rsplit("/", 1)[-1]
    system = system if isinstance(system, str) and system else "avc_jax"
    return systems.title(system), folder


def _find(tree: Any, keys: tuple[str, ...]) -> Any:
    """The first text or number stored under one of `keys` anywhere in nested dicts, breadth first."""
    level = [tree]
    while level:
        dicts = [node for node in level if isinstance(node, dict)]
        for node in dicts:
            for key in keys:
                if isinstance(node.get(key), (str, int, float)):
                    return node[key]
        level = [child for node in dicts for child in node.values()]
    return None


def verdict(run: Run) -> str:
    """Held-out accuracy with its interval, against chance; or how to get one."""
    final = run.part("evaluate", "avc")
    accuracy, step, from_curve = number(final.get("accuracy")), number(final.get("step")), False
    if accuracy is None:
        recorded = zip(*run.series("evaluate/avc/accuracy"), strict=True)
        known = [(at, value) for at, value in recorded if value is not None]
        if not known:
            return _found_first(run) or text.missing(
                "No held-out accuracy yet. The evaluation at the end of <code>python -m avc_jax.main "
                "--config=\N{HORIZONTAL ELLIPSIS} --workdir=\N{HORIZONTAL ELLIPSIS}</code> writes it to "
                "<code>results.json</code>. The same command resumes a run that stopped early; with "
                "<code>--mode=evaluate</code> it scores the newest checkpoint as it is."
            )
        (step, accuracy), from_curve = known[-1], True
    interval = ci95(final) if not from_curve else None
    return (
        f'<div class="verdict"><p class="big">{percent(accuracy)}</p><div class="claim">'
        f"<p>{_claim(final, interval)}</p>{scale(accuracy, interval)}"
        f'<p class="sub">{_basis(run, final, interval, step, from_curve)}</p></div></div>'
    )


def _found_first(run: Run) -> str:
    """The headline of a system that says of no pair whether it belongs together: how often its first direction finds first."""
    whole = ("evaluate", "retrieval", "trained", "directions")
    name = next((name for name in run.part(*whole) if number(run.part(*whole, name).get("median_rank")) is not None), None)
    if name is None:
        return ""
    part = (*whole, name)
    recall, chance = (number(run.part(*part, key).get("1")) for key in ("recall", "chance_recall"))
    before = number(run.part("evaluate", "retrieval", "untrained", "directions", name, "recall").get("1"))
    facts = [f"{count(number(run.part(*part).get('candidates')))} held-out clips"]
    facts += [f"{word} {percent(value)}" for word, value in (("untrained", before), ("chance", chance)) if value is not None]
    if (step := number(run.part("evaluate", "retrieval").get("step"))) is not None:
        facts.append(f"step {count(step)}")
    told = " \N{MIDDLE DOT} ".join(facts)
    return (f'<div class="verdict"><p class="big">{percent(recall)}</p><div class="claim"><p>of held-out clips find their other '
            f'half first, {esc(name)} (R@1).</p><p class="sub">{told}</p></div></div>')


def _claim(final: dict, interval: tuple[float, float] | None) -> str:
    """What the number means, and whether it is more than guessing."""
    on_train = final.get("split") == "train"
    where = "clips it was trained on" if on_train else "held-out clips"
    said = f"of pairs from {where} are judged right: does this frame belong with this sound?"
    if interval is None:
        return said
    if interval[0] > CHANCE:
        return f"{said} <strong>That is above chance.</strong>"
    if interval[1] < CHANCE:
        return f"{said} <strong>That is below chance; look at how pairs are labelled.</strong>"
    return (
        f"{said} <strong>That cannot be told from guessing: the interval holds {percent(CHANCE, 0)}.</strong>"
    )


def _basis(
    run: Run, final: dict, interval: tuple[float, float] | None, step: float | None, from_curve: bool
) -> str:
    """The evaluation's size, sides and step, one after the other."""
    facts = []
    if interval:
        facts.append(f"95\N{NO-BREAK SPACE}% interval {text.percent_range(*interval)}")
    if (clips := number(final.get("clips"))) is not None:
        pairs = number(final.get("pairs"))
        facts.append(text.plural(clips, "clip") + (f", {text.plural(pairs, 'pair')}" if pairs else ""))
    if isinstance(final.get("split"), str):
        facts.append(f"split {esc(final['split'])}")
    if number(final.get("skipped")):
        facts.append(f"{count(final['skipped'])} skipped")
    facts.append(f"chance {percent(CHANCE, 0)}")
    if step is not None:
        facts.append(f"step {count(step)}")
    sides = [number(final.get(f"accuracy_{side}")) for side in ("positive", "negative")]
    told = " \N{MIDDLE DOT} ".join(facts)
    if None not in sides:
        told += f"<br>{percent(sides[0])} of true pairs accepted, {percent(sides[1])} of false pairs rejected"
    if from_curve:
        told += "<br>From <code>metrics.jsonl</code>; <code>results.json</code> holds no evaluation yet"
    trained = number(run.part("train").get("step"))
    if step is not None and trained is not None and trained > step:
        told += f"<br>Training has since gone on to step {count(trained)}"
    return told


def scale(accuracy: float, interval: tuple[float, float] | None) -> str:
    """A ruler from 40 % (or 0) to 100 % with chance, the interval as a band and the accuracy as a dot."""
    low = 0.4 if min(accuracy, *(interval or ()), 1.0) >= 0.4 else 0.0

    def at(share: float) -> str:
        return f"{(min(max(share, low), 1.0) - low) / (1 - low) * 100:.2f}%"

    out = ['<line class="base" x1="0" x2="100%" y1="20" y2="20"/>']
    if interval:
        width = f"{(min(interval[1], 1.0) - max(interval[0], low)) / (1 - low) * 100:.2f}%"
        out.append(f'<rect class="band" x="{at(interval[0])}" width="{width}" y="13" height="14" rx="7"/>')
    out.append(f'<circle class="point" cx="{at(accuracy)}" cy="20" r="5"/>')
    for tenth in range(round(low * 10), 11, 1 if low else 2):
        mark = at(tenth / 10)
        anchor = "start" if mark == "0.00%" else "end" if tenth == 10 else "middle"
        out.append(f'<line class="grid" x1="{mark}" x2="{mark}" y1="30" y2="34"/>')
        out.append(f'<text class="tick" x="{mark}" y="48" text-anchor="{anchor}">{tenth * 10}</text>')
    chance = at(CHANCE)
    out.append(f'<line class="reference" x1="{chance}" x2="{chance}" y1="8" y2="30"/>')
    out.append(f'<text class="tick" x="{chance}" y="2" text-anchor="middle">chance</text>')
    said = f"Accuracy {percent(accuracy)} on a scale from {low:.0%} to 100%, chance at 50%"
    said += f", 95% interval {text.percent_range(*interval)}" if interval else ""
    return f'<svg class="scale" role="img" aria-label="{said}">{"".join(out)}</svg>'


def pairs_seen(run: Run) -> float | None:
    """Pairs trained on: recorded, else steps times the pairs of a step."""
    train = run.part("train")
    if (seen := number(train.get("pairs"))) is not None:
        return seen
    step = number(train.get("step")) or _last(run, "train/loss")[0]
    ratios = sorted(
        pairs / steps
        for row in run.metrics
        if (pairs := row.get("train/pairs_per_s")) and (steps := row.get("train/steps_per_s"))
    )
    # Both rates are over the same window, so their ratio is the batch, whatever the config calls it.
    batch = round(ratios[len(ratios) // 2]) if ratios else number(_find(run.config, ("batch_size",)))
    return None if step is None or batch is None else step * batch


def _last(run: Run, key: str) -> tuple[float | None, float | None]:
    """The last step at which `key` was recorded, and its value."""
    x, y = run.series(key)
    return (x[-1], y[-1]) if x else (None, None)


def wait_share(run: Run) -> float | None:
    """Share 0..1 of the training time spent waiting for data; slow stretches count for their length."""
    shares, weights = [], []
    for row in run.metrics:
        if (share := row.get("train/data_wait")) is not None:
            shares.append(share)
            weights.append(1 / (row.get("train/steps_per_s") or 1.0))
    total = sum(weights)
    return sum(s * w for s, w in zip(shares, weights, strict=True)) / total if total else None


def figures(run: Run) -> str:
    """The row of key figures, those that are known."""
    train = run.part("train")
    last_row = run.metrics[-1]["step"] if run.metrics else None
    step, steps = number(train.get("step")), number(train.get("steps"))
    step = last_row if step is None else step
    sha = train.get("params_sha256")
    rate = number(train.get("pairs_per_s"))
    rate = _last(run, "train/pairs_per_s")[1] if rate is None else rate
    seen, waited, took = pairs_seen(run), wait_share(run), number(train.get("seconds"))
    size = number(train.get("parameters"))
    planned = f" <small>of {count(steps)}</small>" if steps and steps != step else ""
    skipped = number(train.get("skipped_steps")) or None
    found = [
        ("steps", count(step) + planned, step),
        ("skipped, not finite", count(skipped), skipped),
        ("pairs seen", count(seen) if seen and seen < 1e6 else text.short(seen), seen),
        ("pairs per second", text.short(rate), rate),
        ("waiting for data", percent(waited), waited),
        ("training time", text.seconds(took), took),
        ("parameters", text.short(size), size),
    ]
    cells = [f"<div><dt>{name}</dt><dd>{told}</dd></div>" for name, told, value in found if value is not None]
    if isinstance(sha, str) and sha:
        shown = f'<code title="{esc(sha)}">{esc(sha[:12])}</code>'
        cells.append(f"<div><dt>params sha256</dt><dd>{shown}</dd></div>")
    if not cells:
        return text.missing("No training numbers yet: <code>results.json</code> is absent or empty.")
    return f'<dl class="figures">{"".join(cells)}</dl>{_started_from(run)}'


def _started_from(run: Run) -> str:
    """The checkpoint that the network began with, if it did not begin anew."""
    found = run.part("init")
    if not isinstance(found.get("checkpoint"), str):
        return ""
    sizes = {kind: len(names) for kind, names in found.items() if isinstance(names, list)}
    left = sum(sizes.get(kind, 0) for kind in ("missing", "unexpected", "other_shape"))
    partial = f" {text.plural(left, 'variable')} did not fit." if left else ""
    return (f'<p>It started from <code class="path">{esc(found["checkpoint"])}</code>, step {count(number(found.get("step")))}: '
            f"{text.plural(number(found.get('loaded')) or 0, 'variable')} loaded, {count(sizes.get('new', 0))} new.{partial} "
            "What this page calls untrained is the network at that start.</p>")


def data(run: Run) -> str:
    """Where the clips are, how many each split has, and which files were set aside and why."""
    found = run.part("data")
    rows = []
    if found.get("root"):
        rows.append(("root", f'<code class="path">{esc(found["root"])}</code>'))
    if (clips := number(found.get("clips"))) is not None:
        rows.append(("clips", count(clips)))
    splits = {str(k): number(v) for k, v in run.part("data", "splits").items()}
    rows += [(f"in split {esc(name)}", count(clips)) for name, clips in splits.items()]
    if (hours := number(found.get("hours"))) is not None:
        rows.append(("length", text.seconds(hours * 3600)))
    known = "".join(f"<div><dt>{name}</dt><dd>{shown}</dd></div>" for name, shown in rows)
    if known:
        known = f'<dl class="rows">{known}</dl>'
    else:
        known = text.missing("Nothing on the data yet: a run writes it to <code>results.json</code>.")
    return known + _quarantine(run)


def _quarantine(run: Run) -> str:
    """Counts by kind, and the first files with their reasons."""
    told = number(run.part("data").get("quarantined"))
    total = max(len(run.quarantine), int(told or 0))
    if told is None and not total:
        return ""
    if not total:
        return "<p>No file was quarantined.</p>"
    title = f"<h3>{text.plural(total, 'quarantined file')}</h3>"
    if not run.quarantine:
        return (
            f"{title}<p>Their names and reasons are in <code>quarantine.jsonl</code>, which is not here.</p>"
        )
    kinds = Counter(row["kind"] or "unknown" for row in run.quarantine).most_common()
    shares = ", ".join(f"{esc(kind.replace('_', ' '))} {count(n)}" for kind, n in kinds)
    rows = "".join(
        f'<tr><th scope="row" class="path">{esc(row["path"])}</th>'
        f"<td>{esc(row['kind'].replace('_', ' '))}</td><td>{esc(row['reason'])}</td></tr>"
        for row in run.quarantine[:MAX_QUARANTINED]
    )
    more = total - min(len(run.quarantine), MAX_QUARANTINED)
    rest = f"<p>and {count(more)} more in <code>quarantine.jsonl</code></p>" if more > 0 else ""
    return (
        f'{title}<p class="sub">Set aside and not used: {shares}.</p>'
        f"{text.table('Quarantined files', 'files', ['file', 'kind', 'reason'], rows)}{rest}"
    )


def flatten(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested dicts as (dotted name, JSON value) pairs, in order."""
    if isinstance(tree, dict) and tree:
        return [row for k, v in tree.items() for row in flatten(v, f"{prefix}.{k}" if prefix else str(k))]
    return [(prefix, json.dumps(tree, ensure_ascii=False))]


def config(run: Run) -> str:
    """The config as a folded table."""
    if not run.config:
        return text.missing(
            "No <code>config.json</code> in the work directory; a run writes it at its start."
        )
    found = flatten(run.config)
    rows = "".join(f'<tr><th scope="row">{esc(k)}</th><td><code>{esc(v)}</code></td></tr>' for k, v in found)
    return (
        f"<details><summary>Show the {text.plural(len(found), 'value')}</summary>"
        f"{text.table('Values of the config', 'config', ['name', 'value'], rows)}</details>"
    )


def reproduce(run: Run) -> str:
    """The command, and the versions it ran with."""
    command = run.results.get("command")
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        command = shlex.join(command)
    if isinstance(command, str) and command:
        told = f'<div class="command"><pre tabindex="0"><code>{esc(command)}</code></pre></div>'
    else:
        told = text.missing("The command was not recorded in <code>results.json</code>.")
    rows = [(esc(k), esc(v)) for k, v in run.part("versions").items()]
    cells = "".join(f"<div><dt>{name}</dt><dd>{version}</dd></div>" for name, version in rows)
    versions = f'<h3>Versions</h3><dl class="rows">{cells}</dl>' if rows else ""
    return told + versions
