"""Clustering: how well k-means on the embeddings finds the classes (arXiv:1705.08168, section 3.3)."""

import warnings
from typing import Any

import numpy as np

from avc_jax.evaluators.base import Network, Row, Setting, no_classes
from avc_jax.evaluators.features import Features

_WORDS = {"video": "frames", "audio": "sounds"}
_DRAWS = 20


def make(setting: Setting, features: Features) -> "Clustering":
    return Clustering(setting, features)


class Clustering:
    """Normalised mutual information of clusters and classes of the held-out clips, for each modality."""

    def __init__(self, setting: Setting, features: Features):
        self._own, self._seed, self._heldout = setting.config.clustering, setting.config.evaluate.seed, setting.heldout
        self._pulse, self._features = setting.pulse, features

    def missing(self) -> str | None:
        labelled = sum(bool(clip.label) for clip in self._heldout.clips)
        if labelled <= self._own.clusters and not no_classes(self._heldout):
            return (f"found {labelled} labelled held-out clips, expected more than config.clustering.clusters = "
                    f"{self._own.clusters}")
        return no_classes(self._heldout)

    def __call__(self, network: Network) -> dict[str, Any]:
        table, labels = self._features.labelled(network, self._heldout, "embed")
        found: dict[str, Any] = {"clips": len(labels), "classes": len(set(labels)), "clusters": self._own.clusters}
        for modality, values in table.values.items():
            self._pulse()
            assigned = clusters(values, self._own.clusters, restarts=self._own.restarts, seed=self._seed)
            found[modality] = {"nmi": agreement(labels, assigned, self._own.average)}
        return found | {"chance": chance(labels, self._own.clusters, self._own.average, self._seed)}

    def rows(self, trained: dict[str, Any], untrained: dict[str, Any] | None) -> list[Row]:
        note = (f"k-means with {trained['clusters']} clusters on {trained['clips']} clips of {trained['classes']} classes; "
                "chance is random assignments")
        return [Row(f"NMI of clusters of {_WORDS.get(modality, modality)} and classes", value["nmi"],
                    untrained[modality]["nmi"] if untrained else None, trained["chance"], "number", note)
                for modality, value in trained.items() if isinstance(value, dict)]


def clusters(values: np.ndarray, count: int, *, restarts: int, seed: int) -> np.ndarray:
    """int[n]: which of `count` clusters f32[n, D] belong to, the tightest of several k-means."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():  # one thread, as several add up in any order
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters, as of a network that is dead
        return KMeans(count, n_init=restarts, random_state=seed).fit_predict(values.astype(np.float64))


def agreement(labels: np.ndarray, assigned: np.ndarray, average: str) -> float:
    """Normalised mutual information of two partitions, 0 to 1; `average` of the two entropies is what it is divided by."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(labels, assigned, average_method=average))


def chance(labels: np.ndarray, count: int, average: str, seed: int) -> float:
    """The agreement of labels with `count` clusters that were drawn at random, mean over several draws."""
    rng = np.random.default_rng(seed)
    return float(np.mean([agreement(labels, rng.integers(count, size=len(labels)), average) for _ in range(_DRAWS)]))
