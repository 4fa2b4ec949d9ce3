"""Retrieval within and across modalities, for systems that have a common space (arXiv:1712.06651, section 3.2)."""

import csv
import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.evaluators.base import Network, Row, Setting

RECALLS = (1, 5, 10)
WORDS = {"video": "image", "audio": "sound"}
_BLOCK = 1 << 22  # Numbers of the largest array of a block of queries.


# Pure -------------------------------------------------------------------------------------------------------------------


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
    worth = _top_gains(scores, gains, k) @ discounts
    return np.divide(worth, best, out=np.full(len(best), np.nan), where=best > 0)


def _top_gains(scores: np.ndarray, gains: np.ndarray, k: int) -> np.ndarray:
    """float64[q, k]: what each of the first k places is expected to be worth."""
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(scores, top, 1), axis=1), 1)
    top_scores, top_gains = np.take_along_axis(scores, top, 1), np.take_along_axis(gains, top, 1)
    equal = top_scores[:, :, None] == top_scores[:, None, :]
    means = (equal @ top_gains[:, :, None])[:, :, 0] / equal.sum(2)
    # The last score may go on beyond the first k places.
    last = scores == top_scores[:, -1:]
    last_mean = (gains * last).sum(1, keepdims=True) / last.sum(1, keepdims=True)
    return np.where(top_scores == top_scores[:, -1:], last_mean, means)


def ranks(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """int64[q] ranks, from 1, of each query's own item; items that score the same go before it, so that sameness earns nothing.

    Args:
      scores: float[q, n].
      own: int[q], which of the n items is each query's.
    """
    return np.count_nonzero(~(scores < np.take_along_axis(scores, own[:, None], 1)), axis=1)


def recalls(ranks: np.ndarray) -> dict[str, float]:
    """Shares of ranks that are at most k, for k in RECALLS."""
    return {str(k): float(np.mean(ranks <= k)) for k in RECALLS}


def chance_recalls(items: int) -> dict[str, float]:
    """As `recalls`, of a rank that is uniform over the items."""
    return {str(k): min(1.0, k / items) for k in RECALLS}


def rank_blocks(queries: np.ndarray, items: np.ndarray, k: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (which queries, their scores float32[b, n] with all items), few at a time: cosines of f32[q, D] with f32[n, D].

    Args:
      k: places that will be looked at, pair by pair.
    """
    queries, items = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (queries, items))
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
      queries, items: f32[n, D], of the same n clips.
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


# The evaluator ----------------------------------------------------------------------------------------------------------


class Retrieval:
    """Every held-out clip, as a frame and as a sound, asks for others; nearness is the cosine of embeddings.

    Recall and median rank ask across modalities for the other half of the same clip; nDCG asks in all four directions for
    clips of a relevant class, where clips are labelled.
    """

    def __init__(self, setting: Setting, features):
        """
        Raises:
          MissingInputError, DataError: see `read_relevance`.
        """
        self._setting, self._features = setting, features
        self._classes = sorted({clip.label for clip in setting.heldout.clips} - {""})
        given = setting.config.retrieval.relevance
        self._relevance = read_relevance(Path(given), self._classes) if given else np.eye(len(self._classes))
        self.data_sha256 = hashlib.sha256(self._relevance.tobytes()).hexdigest() if given else ""

    def missing(self) -> str | None:
        if not self._setting.system.common_space:
            return (f"the embeddings of {self._setting.config.system.name} with this config have no common space, in which an "
                    "image and a sound can be compared")
        if len(self._setting.heldout.clips) < 2:
            return f"found {len(self._setting.heldout.clips)} held-out clips, expected two at least"
        return None

    def __call__(self, network: Network) -> dict[str, Any]:
        table = self._features.clips(network, self._setting.heldout, "embed")
        directions: dict[str, dict[str, Any]] = {}
        for query, item in itertools.product(WORDS, repeat=2):
            found = directions.setdefault(f"{WORDS[query]} to {WORDS[item]}", {})
            if query != item:
                found |= _find_own(table.values[query], table.values[item])
        labels = np.array([self._setting.heldout.clips[clip].label for clip in table.clip])
        labelled = np.flatnonzero(labels != "")
        if len(labelled) > 1:
            self._add_ndcg(directions, {name: rows[labelled] for name, rows in table.values.items()}, labels[labelled])
        return {"clips": len(table.clip), "labelled": len(labelled), "k": self._setting.config.retrieval.k,
                "directions": directions}

    def _add_ndcg(self, directions: dict[str, dict[str, Any]], values: dict[str, np.ndarray], labels: np.ndarray) -> None:
        own = self._setting.config.retrieval
        of_clip = np.searchsorted(self._classes, labels)
        for query, item in itertools.product(WORDS, repeat=2):
            directions[f"{WORDS[query]} to {WORDS[item]}"] |= mean_ndcg(
                values[query], values[item], lambda block: self._relevance[of_clip[block]][:, of_clip], k=own.k, gain=own.gain,
                leave_out_own=query == item and not own.keep_query)

    def rows(self, trained: dict[str, Any], untrained: dict[str, Any] | None) -> list[Row]:
        return [row for direction, found in trained["directions"].items()
                for row in _rows(direction, found, untrained and untrained["directions"][direction], trained)]


def _find_own(queries: np.ndarray, items: np.ndarray) -> dict[str, Any]:
    """How well f32[n, D] find the items f32[n, D] in the same places."""
    found = np.concatenate([ranks(scores, np.arange(block.start, block.stop))
                            for block, scores in rank_blocks(queries, items, 1)])
    return {"recall": recalls(found), "chance_recall": chance_recalls(len(items)),
            "median_rank": float(np.median(found)), "chance_median_rank": (len(items) + 1) / 2}


def _rows(direction: str, found: dict[str, Any], untrained: dict[str, Any] | None, whole: dict[str, Any]) -> Iterator[Row]:
    def other(*path: str) -> float | None:
        value: Any = untrained
        for name in path:
            value = value and value.get(name)
        return value

    if found.get("ndcg") is not None:
        yield Row(f"Retrieval, {direction}: nDCG@{whole['k']}", found["ndcg"], other("ndcg"), found["chance"], "number",
                  f"{found['queries']} queries among {whole['labelled']} labelled clips")
    for k, value in found.get("recall", {}).items():
        yield Row(f"Retrieval, {direction}: recall at {k}", value, other("recall", k), found["chance_recall"][k], "share",
                  f"The other half of the same clip, among {whole['clips']}")
    if "median_rank" in found:
        yield Row(f"Retrieval, {direction}: median rank", found["median_rank"], other("median_rank"), found["chance_median_rank"],
                  "number", f"The smaller the better, 1 is the best of {whole['clips']}")


def make(setting: Setting, features) -> Retrieval:
    """The evaluator of a run."""
    return Retrieval(setting, features)
