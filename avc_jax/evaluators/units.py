"""Which units to look at, and which embeddings lie next to each other: pure functions over arrays."""

from typing import NamedTuple

import numpy as np

from avc_jax.evaluators import concepts


class Units(NamedTuple):
    """The best units, the best first.

    Attributes:
      unit: int[U], their places among the channels.
      clips: int[U, TOP], the rows that excite each most, strongest first.
      label: str[U], the class that most of these are of; '' without labels.
      agree: int[U], how many are; 0 without labels.
      selectivity: float[U], how far the mean of these lies above that of all rows, in standard deviations.
    """

    unit: np.ndarray
    clips: np.ndarray
    label: np.ndarray
    agree: np.ndarray
    selectivity: np.ndarray

    def take(self, chosen: np.ndarray) -> "Units":
        """Some of them."""
        return Units(*(value[chosen] for value in self))


def best(peaks: np.ndarray, labels: np.ndarray, count: int, seed: int) -> Units:
    """The units whose strongest clips agree most on a class, at most one for each class; of several with the same class and
    agreement the most selective. Without labels, the most selective.

    Args:
      peaks: f32[n, C], the largest activation of each unit in each of n clips.
      labels: str[n], '' where there is none.
      count: how many at most.
      seed: decides among equal activations.

    Returns:
      No unit that is the same for all clips.
    """
    top = concepts.top(peaks, seed)
    spread = peaks.std(axis=0)
    strong = np.take_along_axis(peaks.T, top, 1).mean(axis=1)
    selectivity = np.divide(strong - peaks.mean(axis=0), spread, out=np.zeros_like(spread), where=spread > 0)
    names, numbers = np.unique(labels, return_inverse=True)
    votes = (numbers[top][:, :, None] == np.arange(len(names))).sum(axis=1) * (names != "")
    found = Units(np.arange(len(top)), top, names[votes.argmax(axis=1)], votes.max(axis=1), selectivity)
    order = np.lexsort((-found.selectivity, -found.agree))
    found = found.take(order[spread[order] > 0])
    if any(labels):
        found = found.take(found.agree > 0)
        found = found.take(np.sort(np.unique(found.label, return_index=True)[1]))
    return found.take(np.arange(min(count, len(found.unit))))


def neighbours(values: np.ndarray, labels: np.ndarray, files: np.ndarray) -> tuple[float, float]:
    """The share of rows whose nearest other row, by the cosine, is of the same class, and the share expected by chance.

    Args:
      values: f32[n, D].
      labels: str[n].
      files: int[n], the file that each row is from; a row of the same file is nobody's neighbour.
    """
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    allowed, same = files[:, None] != files, labels[:, None] == labels
    nearest = np.where(allowed, unit @ unit.T, -np.inf).argmax(axis=1)
    chance = (same & allowed).sum(axis=1) / np.maximum(allowed.sum(axis=1), 1)
    return float(same[np.arange(len(values)), nearest].mean()), float(chance.mean())


def partners(labels: np.ndarray, files: np.ndarray, seed: int) -> np.ndarray:
    """int[n]: for each row one of another class, or of another file where there are no two classes; itself if there is none.

    It is the next one in a random order, going round, so that no row is the partner of very many.
    """
    kind = labels if len(np.unique(labels)) > 1 else files
    order, found = np.random.default_rng(seed).permutation(len(kind)), np.arange(len(kind))
    for place, row in enumerate(order):
        later = np.roll(order, -place)
        found[row] = later[(kind[later] != kind[row]).argmax()]
    return found
