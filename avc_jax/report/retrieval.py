"""Retrieval: how often each direction finds the other half of a clip, and a few rankings to look at and listen to."""

from typing import Any

import numpy as np

from avc_jax.report import sheets, text
from avc_jax.report.read import Run
from avc_jax.report.sheets import Sheet
from avc_jax.report.text import NBSP, count, esc, missing, number, percent, plural

# Name -> number of axes; the first one is that of the rankings, the second that of their places.
FIELDS = dict(direction=1, query=1, query_text=1, query_media=1, found=2, found_text=2, found_media=2, own=2, score=2)
KS = ("1", "5", "10")
_COLUMNS = (*(f"R@{k}" for k in KS), "median rank")
BUDGET = 800_000


def section(run: Run) -> str:
    """A table of all directions, subsets and words, and the rankings; or what to do to get them."""
    whole = run.part("evaluate", "retrieval", "trained")
    directions = _directions(whole)
    if not directions:
        return missing(
            "Nothing was looked for yet: the evaluator <code>retrieval</code> of <code>config.evaluators</code> asks systems "
            "that have a common space, at the end of a run or by the same command with <code>--mode=evaluate</code>."
        )
    before = _directions(run.part("evaluate", "retrieval", "untrained"))
    rows = "".join(_row(name, found, before.get(name, {})) for name, found in directions.items())
    table = text.table("Recalls of every direction", "shares recalls", ["direction", *_COLUMNS], rows)
    subsets = _subsets(directions, before)
    return f"<p>{_told(whole, directions)}</p>{table}{subsets}{_words(whole)}{_lists(run)}"


def _directions(whole: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> what was found, those directions that look for the other half of a clip."""
    found = whole.get("directions")
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(name): value for name, value in pairs if isinstance(value, dict) and number(value.get("median_rank")) is not None}


def _told(whole: dict[str, Any], directions: dict[str, dict[str, Any]]) -> str:
    """What is counted, and by which rules."""
    first = next(iter(directions.values()))
    most = max(number(found.get("candidates")) or 0 for found in directions.values())
    said = f"Each clip asks with one half for its other half, among {plural(most, 'clip')}. "
    if any((number(found.get("right")) or 1) > 1 for found in directions.values()):
        said += "A picture that clips share asks once, is one candidate, and finds any of them. "
    said += "R@K is the share found among the first K, with its 95 % interval; the median rank is 1 at best."
    official, asked = number(first.get("official")), number(first.get("asked"))
    if official and asked is not None and asked < official:
        said += f" {plural(official - asked, 'clip')} of {count(official)} could not be asked"
        said += ", and count as not found." if whole.get("denominator") == "official" else ", and do not count."
    return f"{said} Equal scores: {esc(whole.get('tie_rule', 'average'))}."


def _row(name: str, found: dict[str, Any], before: dict[str, Any]) -> str:
    """A direction: its numbers, and below them those of the untrained network and of guessing."""
    recall, interval = _part(found, "recall"), _part(found, "interval")
    theirs, chance = _part(before, "recall"), _part(found, "chance_recall")
    cells = "".join(
        _cell(percent(number(recall.get(k))), _between(_part(interval, "recall").get(k), percent),
              percent(number(theirs.get(k))), percent(number(chance.get(k)))) for k in KS)
    cells += _cell(_rank(found.get("median_rank")), _between(interval.get("median_rank"), _rank),
                   _rank(before.get("median_rank")), _rank(found.get("chance_median_rank")))
    return f'<tr><th scope="row">{esc(name)}</th>{cells}</tr>'


def _part(found: dict[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _rank(value: Any) -> str:
    known = number(value)
    return text.NONE if known is None else f"{known:g}"


def _between(pair: Any, form) -> str:
    """The ends of an interval, '' where there is none."""
    ends = [number(value) for value in pair] if isinstance(pair, list) and len(pair) == 2 else [None]
    return "" if None in ends else f"{form(ends[0])} to {form(ends[1])}"


def _cell(ours: str, between: str, theirs: str, chance: str) -> str:
    said = f'<span class="sub">{between}</span>' if between else ""
    return (f'<td><strong>{ours}</strong>{said}<span class="sub">untrained{NBSP}{theirs}</span>'
            f'<span class="sub">chance{NBSP}{chance}</span></td>')


def _subsets(directions: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> str:
    """The same within subsets of the clips."""
    rows = "".join(
        _row(f"{name}, {direction}", within, _part(_part(before.get(direction, {}), "subsets"), name))
        for direction, found in directions.items() for name, within in _part(found, "subsets").items()
        if isinstance(within, dict) and number(within.get("median_rank")) is not None)
    if not rows:
        return ""
    table = text.table("Recalls within subsets", "shares recalls", ["subset, direction", *_COLUMNS], rows)
    return f"<h3>Within subsets</h3>{table}"


def _words(whole: dict[str, Any]) -> str:
    """How well clips with a word are found by others that have it, in each direction."""
    directions = _part(whole, "by_word")
    tables = "".join(_words_of(name, _part(directions, name)) for name in directions)
    return tables and ("<h3>Words</h3><p>Clips in which a word is said ask for others that have it as well: the share of them "
                       f"that find one among the first K, and the share of the first ten that have it.</p>{tables}")


def _words_of(direction: str, found: dict[str, Any]) -> str:
    words = found.get("words")
    words = [word for word in words if isinstance(word, dict)] if isinstance(words, list) else []
    known = [word for word in words if number(word.get("precision")) is not None]
    if not known:
        return ""
    rows = _word_row(f"mean of {plural(len(known), 'word')}", found, "")
    for word in sorted(known, key=lambda word: -word["precision"]):
        rows += _word_row(word.get("word"), word, count(number(word.get("clips"))))
    return text.table(f"Words, {direction}", "shares recalls", ["word", "clips", *_COLUMNS[:-1], "precision at 10"], rows)


def _word_row(name: Any, found: dict[str, Any], clips: str) -> str:
    recall, chance = _part(found, "recall"), _part(found, "chance_recall")
    pairs = [*((recall.get(k), chance.get(k)) for k in KS), (found.get("precision"), found.get("chance"))]
    cells = "".join(f'<td><strong>{percent(number(ours))}</strong><span class="sub">chance{NBSP}{percent(number(by_chance))}'
                    "</span></td>" for ours, by_chance in pairs)
    return f'<tr><th scope="row">{esc(name)}</th><td>{clips}</td>{cells}</tr>'


# Rankings -----------------------------------------------------------------------------------------------------------------


def _lists(run: Run) -> str:
    """A card for each ranking: who asks, and the nearest items."""
    found = run.arrays("pictures/retrieval.npz", FIELDS)
    if found is None or not len(found["query"]):
        return ""
    sheet = sheets.read(run, "pictures/retrieval_media.npz", BUDGET)
    cards = "".join(_card({name: array[i] for name, array in found.items()}, i, sheet) for i in range(len(found["query"])))
    return ("<h3>Nearest items</h3><p>The first one of each row asks; the others are what it finds, the nearest first, with "
            f'their scores. A check mark is on the clip that belongs to it.</p><div class="units">{cards}</div>')


def _card(ranking: dict[str, Any], i: int, sheet: Sheet) -> str:
    """One ranking as an <article>; items that are sounds have players, and so has who asks."""
    direction, own = str(ranking["direction"]), np.flatnonzero(ranking["own"])
    mark = f"own clip at {int(own[0]) + 1}" if len(own) else f"own clip not among {len(ranking['own'])}"
    query = sheets.item(sheet, int(ranking["query_media"]), ranking["query"], _caption("asks", "kind", ranking["query_text"]))
    items = "".join(sheets.item(sheet, int(ranking["found_media"][k]), ranking["found"][k], _found(ranking, k),
                                heard="sound" in direction.split(" to ")[-1]) for k in range(len(ranking["found"])))
    return (f'<article class="unit video" aria-labelledby="ranking-{i}"><h4 id="ranking-{i}">{esc(direction)} '
            f'<span class="mark">{mark}</span></h4><ol class="items six">{query}{items}</ol></article>')


def _found(ranking: dict[str, Any], k: int) -> str:
    score = f"{float(ranking['score'][k]):#.3g}"
    if ranking["own"][k]:
        return _caption(f"\N{CHECK MARK} {score}", "right", ranking["found_text"][k])
    return _caption(score, "kind", ranking["found_text"][k])


def _caption(first: str, look: str, said: Any) -> str:
    return f'<span class="{look}">{first}</span> <span class="sub said">{esc(said)}</span>'
