"""Audio transfer: a linear SVM on frozen features of labelled sounds, fold by fold (arXiv:1705.08168, section 4.1)."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.evaluators import labelled_sounds
from avc_jax.evaluators.base import Network, Row, Setting
from avc_jax.evaluators.features import Features


def make(setting: Setting, features: Features) -> "Transfer":
    return Transfer(setting, features)


class Transfer:
    """Classifies labelled sounds by the mean score of their subclips.

    Each fold is classified by an SVM that was trained on the others; where one fold is called test, only that.
    """

    def __init__(self, setting: Setting, features: Features):
        """
        Raises:
          ConfigError, MissingInputError, DataError: the labelled sounds that config.transfer names are not there.
        """
        self._own, self._seed, self._pulse = setting.config.transfer, setting.config.evaluate.seed, setting.pulse
        self._features, self._setting = features, setting
        self._sounds = labelled_sounds.find(setting.config, setting.heldout)
        self._named = bool(self._own.dataset or self._own.manifest)
        rows = [(sound.identity(), sound.label, sound.fold) for sound in self._sounds]
        self.data_sha256 = hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def missing(self) -> str | None:
        system, name = self._setting.system, self._setting.config.system.name
        if system.transfer is None or "waveform" not in system.features:
            return f"{name} has no transfer features of sounds" + ("" if "waveform" in system.features else " from media")
        reason = unsplittable([sound.label for sound in self._sounds], [sound.fold for sound in self._sounds])
        if reason is None or self._named:
            return reason
        return (f"among the labelled held-out clips, {reason}; config.transfer.root and config.transfer.manifest (a CSV of "
                "path,label,fold) name other labelled sounds")

    def __call__(self, network: Network) -> dict[str, Any]:
        values = self._features.sounds(network, self._sounds, self._own.subclips)
        good = ~np.isnan(values).any(axis=(1, 2))
        labels = np.array([sound.label for sound in self._sounds])[good]
        folds = np.array([sound.fold for sound in self._sounds])[good]
        if reason := unsplittable(labels, folds):
            raise errors.DataError(f"Transfer: {(~good).sum()} of {len(good)} sounds cannot be decoded; among the others, "
                                   f"{reason}.")
        found = classify(values[good], labels, folds, cost=self._own.cost, costs=self._own.costs, seed=self._seed,
                         pulse=self._pulse)
        return found | {"skipped": int((~good).sum()), "subclips": self._own.subclips, "seed": self._seed}

    def rows(self, trained: dict[str, Any], untrained: dict[str, Any] | None) -> list[Row]:
        note = (f"{trained['clips']} sounds of {len(trained['classes'])} classes, {len(trained['folds'])} folds"
                + ("" if self._named else ", the run's own held-out clips"))
        return [Row("Sounds classified by a linear SVM", trained["accuracy"], untrained["accuracy"] if untrained else None,
                    trained["chance"], note=note)]


def classify(values: np.ndarray, labels: np.ndarray, folds: np.ndarray, *, cost: float, costs: Sequence[float], seed: int,
             pulse: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The protocol, from features to accuracy.

    Args:
      values: f32[n, k, D], features of the k subclips of n sounds.
      labels, folds: str[n].
      cost: C of the SVM; 0: the one of `costs` that does best where one of the training folds is held back.
      costs: candidates.
      seed: of the SVM's order of samples.
      pulse: called between two fits.

    Returns:
      accuracy (mean over folds), folds (each with fold, accuracy, cost, clips, converged), classes, confusion (rows are the true
      classes), per_class, clips, chance (always saying the most frequent class).
    """
    classes, truth = np.unique(labels, return_inverse=True)
    confusion, rows = np.zeros((len(classes), len(classes)), int), []
    for fold in tested(folds):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        chosen = cost or _best_cost(values[train], truth[train], folds[train], costs, seed, pulse)
        pulse()
        scores, converged = _scores(values[train], truth[train], values[test], len(classes), chosen, seed)
        said = scores.argmax(axis=1)
        np.add.at(confusion, (truth[test], said), 1)
        rows.append({"fold": str(fold), "accuracy": float((said == truth[test]).mean()), "cost": chosen, "clips": len(test),
                     "converged": converged})
    counts = confusion.sum(axis=1)
    right = confusion.diagonal() / np.maximum(counts, 1)
    return {
        "accuracy": float(np.mean([row["accuracy"] for row in rows])),
        "folds": rows,
        "classes": classes.tolist(),
        "confusion": confusion.tolist(),
        "per_class": {name: {"accuracy": float(share), "clips": int(count)}
                      for name, share, count in zip(classes.tolist(), right, counts, strict=True)},
        "clips": int(counts.sum()),
        "chance": float(counts.max() / counts.sum()),
    }


def tested(folds: Sequence[str] | np.ndarray) -> list[str]:
    """The folds that are classified: each in turn, or only `test` where there is one."""
    found = sorted(set(folds))
    return ["test"] if "test" in found else found


def unsplittable(labels: Sequence[str], folds: Sequence[str]) -> str | None:
    """Why sounds cannot be classified fold by fold, or None."""
    for fold in tested(folds):
        known = {label for label, own in zip(labels, folds, strict=True) if own != fold}
        if len(known) < 2:
            return f"found {len(known)} class(es) outside fold {fold}, expected two or more to learn from"
    return None if len(labels) else "found no sound with a label"


def _scores(train: np.ndarray, truth: np.ndarray, test: np.ndarray, num_classes: int, cost: float,
            seed: int) -> tuple[np.ndarray, bool]:
    """f64[m, num_classes]: mean scores of the subclips of f32[m, k, D], and whether the SVM converged.

    Args:
      train: f32[n, k, D], z-scored as the test by its own statistics.
      truth: int[n], whose classes the subclips inherit; a class that is not among them scores -inf.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    inputs, asked = (value.reshape(-1, value.shape[-1]).astype(np.float64) for value in (train, test))
    scaler = StandardScaler(copy=False)
    inputs = scaler.fit_transform(inputs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        machine = LinearSVC(C=cost, random_state=seed, dual="auto").fit(inputs, np.repeat(truth, train.shape[1]))
    found = machine.decision_function(scaler.transform(asked))
    found = np.stack([-found, found], axis=1) if found.ndim == 1 else found  # of two classes the SVM scores the second
    scores = np.full((len(test), num_classes), -np.inf)
    scores[:, machine.classes_] = found.reshape(len(test), test.shape[1], -1).mean(axis=1)
    return scores, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _best_cost(values: np.ndarray, truth: np.ndarray, folds: np.ndarray, costs: Sequence[float], seed: int,
               pulse: Callable[[], None]) -> float:
    """The cost with the most right answers on what is held back; of equals the smallest.

    Costs are tried from small to large, until one does worse than one before: the large ones take by far the most time.
    """
    held, chosen, most = _held_back(truth, folds), min(costs), -1
    if not held.any():
        return chosen
    for cost in sorted(costs):
        pulse()
        scores, _ = _scores(values[~held], truth[~held], values[held], int(truth.max()) + 1, cost, seed)
        right = int((scores.argmax(axis=1) == truth[held]).sum())
        if right < most:
            break
        if right > most:
            chosen, most = cost, right
    return chosen


def _held_back(truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """bool[n]: the first training fold whose absence leaves two classes to learn; if there is none, every second sound of each
    class."""
    for fold in sorted(set(folds)):
        held = folds == fold
        if len(set(truth[~held])) > 1:
            return held
    return np.array(list(_alternate(truth)))


def _alternate(truth: np.ndarray) -> Iterator[bool]:
    """False, True, False, ... for the sounds of each class, in order."""
    last: dict[int, bool] = {}
    for label in truth.tolist():
        last[label] = not last.get(label, True)
        yield last[label]
