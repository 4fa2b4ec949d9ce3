"""Ranks of what was looked for among scored items, and what is told of them: recalls, median and mean rank, intervals.

Pure. The rules for equal scores, and the numbers that recalls are divided by, are those of published evaluations: HowTo100M
(arXiv:1906.03327), AVLnet (arXiv:2006.09199), Everything at Once (arXiv:2112.04446).
"""

from typing import Any, NamedTuple

import numpy as np

# What the rank of an item is whose score others share: the middle of their places (Everything at Once), the first of them, the
# last of them, or the list of them all, so that a query counts several times (HowTo100M, AVLnet).
RULES = ("average", "optimistic", "pessimistic", "naive")
# What hits are divided by: the number of queries that the benchmark has, missing ones included (Everything at Once; AVLnet on
# MSR-VTT), those that could be asked (AVLnet), or the length of the list of ranks (HowTo100M).
DENOMINATORS = ("official", "available", "listed")
KS = (1, 5, 10)


class Counts(NamedTuple):
    """Where each query's own item lies among all items.

    Attributes:
      greater: int64[q], how many items score higher than the query's own.
      equal: int64[q], how many score the same, the own one included: at least 1.
    """

    greater: np.ndarray
    equal: np.ndarray


def count(scores: np.ndarray, own: np.ndarray) -> Counts:
    """Counts by comparison, so that no order of equal scores matters.

    An own score that is no number lies behind all others; items whose score is none are before and beside nothing.

    Args:
      scores: float[q, n], the larger the nearer.
      own: int[q], which of the n items is each query's.
    """
    score = np.take_along_axis(scores, own[:, None], 1)
    lost = np.isnan(score[:, 0])
    greater, equal = np.count_nonzero(scores > score, axis=1), np.count_nonzero(scores == score, axis=1)
    return Counts(np.where(lost, scores.shape[1] - 1, greater), np.where(lost, 1, equal))


def best(counts: Counts, query: np.ndarray) -> Counts:
    """Of queries that have several right items, the counts of the nearest; right ones with the same score share one place.

    Args:
      counts: of each right item.
      query: int[m], whose it is.

    Returns:
      Of each query, in the order of their numbers.
    """
    names, of = np.unique(query, return_inverse=True)
    greater, equal = np.full(len(names), np.iinfo(np.int64).max), np.zeros(len(names), np.int64)
    np.minimum.at(greater, of, counts.greater)
    nearest = counts.greater == greater[of]
    np.maximum.at(equal, of[nearest], counts.equal[nearest])
    together = np.bincount(of[nearest], minlength=len(names))
    return Counts(greater, np.maximum(1, equal - together + 1))  # what is no number equals nothing, not even its like


def ranks(counts: Counts, rule: str) -> np.ndarray:
    """float64[m], ranks from 0: one for each query, with the rule `naive` one for each place that it shares."""
    greater, equal = counts
    if rule == "naive":
        first = np.repeat(np.cumsum(equal) - equal, equal)
        return (np.repeat(greater, equal) + np.arange(equal.sum()) - first).astype(np.float64)
    return _doubled(counts, rule) / 2


def summarise(counts: Counts, rule: str, denominator: str, official: int) -> dict[str, Any]:
    """What is told of the queries that could be asked.

    A rank r from 0 is among the first K if r < K; among the first one only if it is 0: a shared first place, 1/2, is not the
    first (Everything at Once). Median and mean are of the ranks that there are, so missing queries do not change them.

    Args:
      counts: of the queries that could be asked.
      rule: one of RULES.
      denominator: one of DENOMINATORS.
      official: queries of the benchmark, with those that could not be asked.

    Returns:
      recall: K -> hits / divisor; divisor: what `denominator` names; median_rank, mean_rank: from 1, None without a query.
    """
    return _summary(counts, np.ones(len(counts.greater), np.int64), rule, denominator, official)


def intervals(counts: Counts, rule: str, denominator: str, official: int, *, resamples: int, seed: int) -> dict[str, Any]:
    """95 % intervals by the percentile bootstrap over queries (Efron, 1979); those that could not be asked are drawn as well
    where recalls are divided by their number.

    Args:
      counts, rule, denominator, official: as for `summarise`.
      resamples: how many.
      seed: of the draws.

    Returns:
      recall: K -> [low, high]; median_rank: [low, high]; {} without a query or resamples.
    """
    asked = len(counts.greater)
    if not asked or not resamples:
        return {}
    size, rng = max(asked, official) if denominator == "official" else asked, np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, size, size), minlength=size)[:asked]
        found = _summary(counts, weights, rule, denominator, official)
        drawn.append([*found["recall"].values(), np.nan if found["median_rank"] is None else found["median_rank"]])
    low, high = np.nanpercentile(np.array(drawn), (2.5, 97.5), axis=0).tolist()
    return {"recall": {str(k): [low[i], high[i]] for i, k in enumerate(KS)}, "median_rank": [low[-1], high[-1]]}


def chance(items: int, right: np.ndarray, divisor: int) -> dict[str, Any]:
    """What `summarise` gives in the mean where all orders of the items are equally likely.

    Args:
      items: candidates of each query.
      right: int[q], how many of them are right for each query that could be asked; at least 1.
      divisor: what hits are divided by.
    """
    recall = {str(k): float(hit_chance(items, right, k).sum()) / divisor for k in KS}
    return {"recall": recall, "median_rank": _median_by_chance(items, right)}


def hit_chance(items: int | np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """float64[q]: how likely one of int[q] right items is among the first k of some in random order.

    Args:
      items: how many there are, of all queries or int[q].
    """
    place = np.arange(k)
    items, right = (np.asarray(part, np.float64)[..., None] for part in (items, right))
    return 1 - (np.maximum(0, items - right - place) / np.maximum(1, items - place)).prod(axis=-1)


def _median_by_chance(items: int, right: np.ndarray) -> float:
    """The median over queries and orders of the rank, from 1, of the first right item."""
    amounts, weights = np.unique(right, return_counts=True)
    place, found = np.arange(items), np.zeros(items)
    for amount, weight in zip(amounts.tolist(), weights.tolist(), strict=True):
        found += weight / len(right) * (1 - (np.maximum(0, items - amount - place) / (items - place)).cumprod())
    return float(np.searchsorted(found, (0.5 - 1e-9, 0.5 + 1e-9)).mean()) + 1


def _doubled(counts: Counts, rule: str) -> np.ndarray:
    """int64[q]: twice the rank from 0, of a rule that gives one."""
    greater, equal = counts
    return 2 * greater + {"average": 1, "optimistic": 0, "pessimistic": 2}[rule] * (equal - 1)


def _summary(counts: Counts, weights: np.ndarray, rule: str, denominator: str, official: int) -> dict[str, Any]:
    """`summarise` where each query is there int64[q] times."""
    greater, equal = counts
    if rule == "naive":
        hits = [np.clip(k - greater, 0, equal) for k in KS]
    else:
        hits = [_doubled(counts, rule) < (1 if k == 1 else 2 * k) for k in KS]
    listed = int((weights * equal).sum()) if rule == "naive" else int(weights.sum())
    divisor = {"official": official, "available": int(weights.sum()), "listed": listed}[denominator]
    recall = {str(k): float(np.dot(weights, hit)) / max(1, divisor) for k, hit in zip(KS, hits, strict=True)}
    median, mean = _middle(_histogram(counts, weights, rule))
    return {"recall": recall, "divisor": divisor, "median_rank": median, "mean_rank": mean}


def _histogram(counts: Counts, weights: np.ndarray, rule: str) -> np.ndarray:
    """int64[m]: how many of the listed ranks from 0 are 0, 1/2, 1, ...; the list itself may have q * n entries."""
    greater, equal = counts
    if rule != "naive":
        return np.bincount(_doubled(counts, rule), weights).astype(np.int64)
    size = int((greater + equal).max(initial=0)) + 1
    whole = np.cumsum(np.bincount(greater, weights, size) - np.bincount(greater + equal, weights, size)).astype(np.int64)
    return np.stack([whole, np.zeros_like(whole)], axis=1).reshape(-1)


def _middle(histogram: np.ndarray) -> tuple[float | None, float | None]:
    """Median and mean, from 1, of the ranks that a histogram counts."""
    below = np.cumsum(histogram)
    total = int(below[-1]) if len(below) else 0
    if not total:
        return None, None
    low, high = np.searchsorted(below, [(total - 1) // 2 + 1, total // 2 + 1])
    return float(low + high) / 4 + 1, float(np.dot(histogram, np.arange(len(histogram)))) / total / 2 + 1
