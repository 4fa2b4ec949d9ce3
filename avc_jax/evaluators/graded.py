"""Rankings by graded relevance: nDCG, its expectation over random orders, and tables of how relevant classes are."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors

_BLOCK = 1 << 22  # Numbers of the largest array of a block of queries.


def ndcg(scores: np.ndarray, relevance: np.ndarray, k: int, gain: str) -> np.ndarray:
    """Normalised discounted cumulative gain: the sum of g / log2(rank + 1) over ranks 1 .. k, over that of the best ranking.

    Each of several items with one score is worth their mean gain, which is the expectation over their orders (McSherry &
    Najork, ECIR 2008); constant scores therefore give what a random ranking is expected to give.

    Args:
      scores: float[q, n] of n items for each of q queries, the larger the nearer.
      relevance: float[q, n], at least 0.
      k: ranks that count.
      gain: linear (g = relevance) or exponential (g = 2^relevance - 1).

    Returns:
      float64[q]; NaN for a query without a relevant item.
    """
    gains = relevance.astype(np.float64) if gain == "linear" else np.exp2(relevance.astype(np.float64)) - 1
    k = min(k, scores.shape[1])
    discounts = 1 / np.log2(np.arange(k) + 2)
    best = -np.sort(np.partition(-gains, k - 1, axis=1)[:, :k], axis=1) @ discounts
    worth = top_gains(scores, gains, k) @ discounts
    return np.divide(worth, best, out=np.full(len(best), np.nan), where=best > 0)


def top_gains(scores: np.ndarray, gains: np.ndarray, k: int) -> np.ndarray:
    """float64[q, k]: what each of the first k places is expected to be worth.

    Args:
      scores, gains: float[q, n], n at least k.
    """
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(scores, top, 1), axis=1), 1)
    top_scores, top_gains = np.take_along_axis(scores, top, 1), np.take_along_axis(gains, top, 1)
    equal = top_scores[:, :, None] == top_scores[:, None, :]
    means = (equal @ top_gains[:, :, None])[:, :, 0] / equal.sum(2)
    # The last score may go on beyond the first k places.
    last = scores == top_scores[:, -1:]
    last_mean = (gains * last).sum(1, keepdims=True) / last.sum(1, keepdims=True)
    return np.where(top_scores == top_scores[:, -1:], last_mean, means)


def rank_blocks(queries: np.ndarray, items: np.ndarray, k: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (which queries, their scores float32[b, n] with all items), few at a time: dot products of f32[q, D] with f32[n, D].

    Args:
      k: places that will be looked at, pair by pair.
    """
    size = max(1, _BLOCK // max(len(items), k * k))
    for begin in range(0, len(queries), size):
        block = slice(begin, min(begin + size, len(queries)))
        yield block, queries[block] @ items.T


def _without(values: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """[b, n - 1] of [b, n]: each row without the column int[b]."""
    kept = np.arange(values.shape[1]) != left_out[:, None]
    return values[kept].reshape(len(values), -1)


def mean_ndcg(queries: np.ndarray, items: np.ndarray, relevance: Callable[[slice], np.ndarray], *, k: int, gain: str,
              leave_out_own: bool) -> dict[str, Any]:
    """The mean over queries of `ndcg`, and its expectation over random rankings.

    Args:
      queries, items: f32[n, D], of the same n clips; they are compared by dot products.
      relevance: which queries -> float[b, n].
      k, gain: see `ndcg`.
      leave_out_own: the query itself is no candidate.

    Returns:
      ndcg, chance: shares, None if no query has a relevant item; queries: how many do.
    """
    found, expected = [], []
    for block, scores in rank_blocks(queries, items, k):
        relevant = relevance(block)
        if leave_out_own:
            own = np.arange(block.start, block.stop)
            scores, relevant = _without(scores, own), _without(relevant, own)
        found.append(ndcg(scores, relevant, k, gain))
        expected.append(ndcg(np.zeros_like(scores), relevant, k, gain))
    value, chance = (np.concatenate(part) for part in (found, expected))
    usable = ~np.isnan(chance)
    if not usable.any():
        return {"ndcg": None, "chance": None, "queries": 0}
    return {"ndcg": float(value[usable].mean()), "chance": float(chance[usable].mean()), "queries": int(usable.sum())}


def read_relevance(path: Path, classes: list[str]) -> np.ndarray:
    """float64[K, K] relevance of classes to each other.

    Args:
      path: CSV whose header names classes (its first field is not used), and whose rows begin with the name of a class.
      classes: the K names that are wanted, in order.

    Raises:
      MissingInputError: there is no such file.
      DataError: it is not such a table, or lacks a class.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        table = {row[0]: dict(zip(header[1:], map(float, row[1:]), strict=True)) for row in rows}
    except OSError as error:
        raise errors.MissingInputError(f"config.retrieval.relevance={path} cannot be read: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:
        raise errors.DataError(f"config.retrieval.relevance={path}: expected a header of classes, and rows of a class and as "
                               f"many numbers; found otherwise: {error}.") from error
    lacking = [name for name in classes if name not in table or name not in header[1:]]
    if lacking:
        raise errors.DataError(f"config.retrieval.relevance={path} has no row or no column for {', '.join(lacking)}, which clips "
                               "are labelled with.")
    matrix = np.array([[table[row][column] for column in classes] for row in classes])
    if not (np.isfinite(matrix) & (matrix >= 0)).all():
        raise errors.DataError(f"config.retrieval.relevance={path} holds numbers that are negative or not finite.")
    return matrix
