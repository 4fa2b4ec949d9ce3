"""Concept units: classes that some unit has come to stand for (arXiv:1705.08168, section 3.3).

A class is covered if among the five clips that excite some unit most, at least four (or three) are of that class.
"""

import math
from typing import Any

import numpy as np

from avc_jax.evaluators.base import Network, Row, Setting, no_classes
from avc_jax.evaluators.features import Features

TOP = 5
AT_LEAST = (4, 3)
_WORDS = {"video": "frames", "audio": "sounds"}


def make(setting: Setting, features: Features) -> "Concepts":
    return Concepts(setting, features)


class Concepts:
    """Counts covered classes among the held-out clips, for each modality."""

    def __init__(self, setting: Setting, features: Features):
        self._seed, self._heldout, self._features = setting.config.evaluate.seed, setting.heldout, features

    def missing(self) -> str | None:
        return no_classes(self._heldout)

    def __call__(self, network: Network) -> dict[str, Any]:
        table, labels = self._features.labelled(network, self._heldout, "embed")
        found: dict[str, Any] = {"clips": len(labels), "classes": len(set(labels))}
        for modality, values in table.values.items():
            counts = count_classes(values, labels, self._seed)
            names = np.unique(labels)
            found[modality] = {"units": len(counts)}
            for least in AT_LEAST:
                covered = names[(counts >= least).any(axis=0)]
                found[modality] |= {f"at_least_{least}": len(covered), f"covered_{least}": covered.tolist(),
                                    f"units_{least}": int((counts >= least).any(axis=1).sum()),
                                    f"chance_{least}": expected(labels, len(counts), least)}
        return found

    def rows(self, trained: dict[str, Any], untrained: dict[str, Any] | None) -> list[Row]:
        note = f"of {trained['classes']} classes, {trained['clips']} clips; chance is activations of pure noise"
        return [Row(f"Classes that some unit finds in {least} of its top {TOP} {_WORDS.get(modality, modality)}",
                    value[f"at_least_{least}"], untrained[modality][f"at_least_{least}"] if untrained else None,
                    value[f"chance_{least}"], "number", note)
                for least in AT_LEAST for modality, value in trained.items() if isinstance(value, dict)]


def top(values: np.ndarray, seed: int, count: int = TOP) -> np.ndarray:
    """int[D, count]: the rows of f32[n, D] that excite each unit most, strongest first.

    Equals are taken in a random order: a unit that never fires must not prefer the class that the clips begin with.
    """
    shuffled = np.random.default_rng(seed).permutation(len(values))
    order = np.argsort(-values[shuffled], axis=0, kind="stable")[:count]
    return shuffled[order].T


def count_classes(values: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """int[D, classes]: how many of the top clips of each unit are of each class, classes in alphabetical order."""
    _, numbers = np.unique(labels, return_inverse=True)
    found = numbers[top(values, seed)]
    return (found[:, :, None] == np.arange(numbers.max() + 1)).sum(axis=1)


def expected(labels: np.ndarray, units: int, least: int) -> float:
    """How many classes activations of pure noise are expected to cover.

    The class c of n_c clips has at least `least` among TOP of n clips with a hypergeometric probability p_c, and is covered
    with probability 1 - (1 - p_c)^units.
    """
    total, drawn = len(labels), min(TOP, len(labels))
    _, counts = np.unique(labels, return_counts=True)
    shares = [sum(math.comb(count, hits) * math.comb(total - count, drawn - hits) for hits in range(least, drawn + 1))
              / math.comb(total, drawn) for count in counts.tolist()]
    return float(sum(1 - (1 - share) ** units for share in shares))
