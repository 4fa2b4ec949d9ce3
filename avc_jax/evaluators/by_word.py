"""Retrieval by words: clips in which a word is said ask for other clips that have it (AVLnet, arXiv:2006.09199)."""

from typing import Any

import numpy as np

from avc_jax.evaluators import graded, ranking
from avc_jax.evaluators.directions import Direction
from avc_jax.evaluators.ranking import Counts
from avc_jax.evaluators.vocabulary import Vocabulary

# Places that precision looks at; and clips that ask for one word at most, spread evenly.
AT, _ASKED = 10, 1000
_MEANS = ("recall", "precision", "chance_recall", "chance")


def ask(direction: Direction, kept: np.ndarray, vocabulary: Vocabulary, ties: str) -> dict[str, Any]:
    """How well clips with a word find others that have it; of one picture, see `directions`.

    Recall at K is the share of queries that find one among the first K, by a rule for equal scores; precision is the share of the
    first AT, where equal scores share the mean of their places.

    Args:
      direction: who asks.
      kept: int[n], the clips that have query and item.
      vocabulary: their words.
      ties: one of ranking.RULES.

    Returns:
      recall, chance_recall: K -> mean over words; precision, chance; words: the same of each, with `word` and `clips`. {} where
      there are no words, or fewer than AT others.
    """
    query, has_query = _speakers(direction.asks[kept], vocabulary.has)
    item, has_item = _speakers(direction.answers[kept], vocabulary.has)
    queries, items = direction.near.vectors(kept)
    queries, items, picture = queries[query], items[item], direction.picture[kept]
    told = []
    for column, word in enumerate(vocabulary.words if len(item) > AT else ()):
        asking = np.flatnonzero(has_query[:, column])
        asking = asking[np.unique(np.linspace(0, len(asking) - 1, min(len(asking), _ASKED)).astype(int))]
        found = _one(queries[asking], items, picture[query[asking]], picture[item], has_item[:, column], ties)
        if found:
            told.append({"word": word, "clips": int(vocabulary.has[:, column].sum())} | found)
    if not told:
        return {}
    return {name: _mean([word[name] for word in told]) for name in _MEANS} | {"words": told}


def _speakers(names: np.ndarray, has: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int[m] places of the first clips of each name; bool[m, W] which words their clips have."""
    _, first, of = np.unique(names, return_index=True, return_inverse=True)
    held = np.zeros((len(first), has.shape[1]), bool)
    np.logical_or.at(held, of, has)
    return first, held


def _mean(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    return float(np.mean(values))


def _one(queries: np.ndarray, items: np.ndarray, asks: np.ndarray, answers: np.ndarray, has: np.ndarray,
         ties: str) -> dict[str, Any]:
    """One word: f32[q, D] queries and f32[n, D] items, int[q] and int[n] their pictures, bool[n] which items have the word.

    Items of the query's own picture are no candidates, and queries without AT others, one of them right, are left out.
    """
    parts = []
    for block, scores in graded.rank_blocks(queries, items, AT):
        others = asks[block, None] != answers
        right = has & others
        scores = np.where(others & ~np.isnan(scores), scores, -np.inf)  # what is no number is behind all others
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        lost = np.isneginf(best[:, 0])
        greater = np.where(lost, others.sum(axis=1) - 1, (scores > best).sum(axis=1))
        equal = np.where(lost, 1, (~right & (scores == best)).sum(axis=1) + 1)
        precision = graded.top_gains(scores, right.astype(np.float64), AT).mean(axis=1)
        parts.append(np.stack([greater, equal, precision, others.sum(axis=1), right.sum(axis=1)]))
    found = np.concatenate(parts, axis=1)
    found = found[:, (found[3] >= AT) & (found[4] > 0)]
    if not found.size:
        return {}
    counts, precision, others, right = Counts(*found[:2].astype(np.int64)), *found[2:]
    return {"recall": ranking.summarise(counts, ties, "available", 0)["recall"], "precision": float(precision.mean()),
            "chance_recall": {str(k): float(ranking.hit_chance(others, right, k).mean()) for k in ranking.KS},
            "chance": float((right / others).mean())}
