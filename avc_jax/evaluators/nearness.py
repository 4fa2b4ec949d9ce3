"""How near the clips of an evaluation are in a direction, by products of embeddings or as the system compares them."""

import dataclasses
from typing import Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from avc_jax.evaluators import ranking
from avc_jax.evaluators.base import Network, Setting
from avc_jax.evaluators.ranking import Counts
from avc_jax.parallel import nearest
from avc_jax.systems.base import Comparison

# Videos and sounds that are compared at once where a comparison is no product.
_BLOCK = 64


class Nearness(Protocol):
    """The scores of n clips as queries with the same n clips as items."""

    def count(self, asked: np.ndarray, there: np.ndarray, own: np.ndarray) -> Counts:
        """Where the own items of queries lie.

        Args:
          asked: int[q], the clips that ask.
          there: int[m], the clips that are candidates.
          own: int[q], the place of each query's own among these.
        """

    def top(self, asked: np.ndarray, there: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """f32[q, k] scores and int[q, k] places among the candidates, the nearest first, at most as many as there are."""

    def vectors(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f32[m, D] queries and f32[m, D] items, of clips int[m], whose dot products are the scores."""


@dataclasses.dataclass(frozen=True)
class Products:
    """Dot products of f32[n, D] and f32[n, D], over all devices; the matrix is never held."""

    queries: np.ndarray
    items: np.ndarray
    mesh: Mesh

    def count(self, asked: np.ndarray, there: np.ndarray, own: np.ndarray) -> Counts:
        return Counts(*nearest.Items(self.items[there], self.mesh).count(self.queries[asked], own))

    def top(self, asked: np.ndarray, there: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return nearest.Items(self.items[there], self.mesh).top(self.queries[asked], k)

    def vectors(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.queries[clips], self.items[clips]


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Scores f32[n, n], a row for each query."""

    scores: np.ndarray

    def count(self, asked: np.ndarray, there: np.ndarray, own: np.ndarray) -> Counts:
        return ranking.count(self.scores[np.ix_(asked, there)], own)

    def top(self, asked: np.ndarray, there: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = self.scores[np.ix_(asked, there)]
        places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, places, 1), places

    def vectors(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.scores[np.ix_(clips, clips)], np.eye(len(clips), dtype=np.float32)


def compared(comparison: Comparison, setting: Setting, features, network: Network, clips: np.ndarray) -> np.ndarray:
    """f32[n, n] scores of the videos and the sounds of good held-out clips int[n], as the system's comparison gives them.

    What is compared of all clips is held in memory, hundreds of kilobytes for each; sets that are ranked in this way have a
    thousand or so.
    """
    system = setting.system
    shapes = {name: jax.ShapeDtypeStruct((2, *feature.shape), feature.dtype) for name, feature in system.features.items()}
    trees = jax.eval_shape(comparison.sides, network.variables, shapes)

    def leaves(variables, batch):
        found = comparison.sides(variables, batch)
        return {f"{side}/{place}": leaf for side, tree in found.items() for place, leaf in enumerate(jax.tree.leaves(tree))}

    asking = type(features)(dataclasses.replace(setting, system=dataclasses.replace(system, maps=leaves)))
    found = asking.maps(network, setting.heldout, clips)

    def block(side: str, begin: int):
        """The tree of _BLOCK clips; the last is repeated where there are fewer."""
        rows = np.minimum(np.arange(begin, begin + _BLOCK), len(clips) - 1)
        own, structure = jax.tree.leaves(trees[side]), jax.tree.structure(trees[side])
        return jax.tree.unflatten(structure, [found[f"{side}/{place}"][rows].astype(leaf.dtype)
                                              for place, leaf in enumerate(own)])

    score, scores = jax.jit(comparison.score), np.zeros((len(clips), len(clips)), np.float32)
    for row in range(0, len(clips), _BLOCK):
        video = block("video", row)
        for column in range(0, len(clips), _BLOCK):
            setting.pulse()
            part = np.asarray(score({"video": video, "audio": block("audio", column)}))
            scores[row : row + _BLOCK, column : column + _BLOCK] = part[: len(clips) - row, : len(clips) - column]
    return scores
