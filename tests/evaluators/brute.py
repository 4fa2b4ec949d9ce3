"""Ranks by sorting and searching, one query at a time: what the evaluators' arithmetic has to give."""

import numpy as np


def ranks(scores: np.ndarray, own: np.ndarray, rule: str) -> list[float]:
    """Ranks from 0 of the items own[q] in scores[q]; every shared place with the rule `naive`."""
    found: list[float] = []
    for row, place in zip(scores.tolist(), own.tolist(), strict=True):
        shared = [position for position, score in enumerate(sorted(row, reverse=True)) if score == row[place]]
        found += {"average": [sum(shared) / len(shared)], "optimistic": shared[:1], "pessimistic": shared[-1:],
                  "naive": shared}[rule]
    return found


def recalls(ranks: list[float], divisor: int) -> dict[str, float]:
    """K -> hits / divisor; among the first one is only rank 0."""
    hits = {1: [rank == 0 for rank in ranks], 5: [rank < 5 for rank in ranks], 10: [rank < 10 for rank in ranks]}
    return {str(k): sum(hit) / divisor for k, hit in hits.items()}
