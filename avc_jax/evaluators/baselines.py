"""What labels give: the two supervised baselines of audio-visual correspondence (arXiv:1705.08168, section 3.1).

Both begin with a classifier of frames and one of sounds: the system's trunks, each with two dense layers, trained on labels.
Direct combination says "these belong together" where the classifiers agree. Supervised pretraining keeps the trunks as they
are and trains a new fusion on correspondence.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from avc_jax import errors, losses
from avc_jax.data import pipeline, plan
from avc_jax.data.moments import make_format
from avc_jax.data.sources import Source
from avc_jax.evaluators.avc import AVC
from avc_jax.evaluators.base import Network, Row, Setting
from avc_jax.evaluators.fit import fit
from avc_jax.systems.base import Batch, Feature, Objective, Parts, System, Variables
from avc_jax.train import optimizer as optimizers

# Pure -------------------------------------------------------------------------------------------------------------------


class Layers(nn.Module):
    """The two dense layers between a trunk and its classes: f32[B, C] -> f32[B, K] logits."""

    hidden: int
    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Dense(self.hidden, kernel_init=nn.initializers.he_normal(), name="fc1")(x))
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.he_normal(), name="fc2")(x)


def join(*shares: Variables) -> dict[str, Any]:
    """One tree of the variables of all shares; a later one replaces what it has in common with those before."""
    joined: dict[str, Any] = {}
    for share in shares:
        for collection, values in share.items():
            joined[collection] = {**joined.get(collection, {}), **values}
    return joined


@dataclasses.dataclass(frozen=True)
class Classifiers:
    """A classifier for each modality, trained side by side: they share batches and nothing else."""

    system: System
    parts: Parts
    layers: Layers

    def objective(self) -> Objective:
        """Cross-entropy over the classes, of each modality; a batch holds `class` int32[B] beside the system's fields."""
        return Objective({**self.system.features, "class": Feature((), "int32")}, self._init, self._loss)

    def _init(self, rng: jax.Array, batch: Batch) -> Variables:
        trunks: dict[str, Any] = {}
        layers = {}
        for number, (modality, trunk) in enumerate(self.parts.trunks.items()):
            rng_trunk, rng_layers = jax.random.split(jax.random.fold_in(rng, number))
            trunks = join(trunks, trunk.init(rng_trunk, batch))
            vector = jax.eval_shape(lambda trunks, batch, trunk=trunk: trunk.apply(trunks, batch, None, False)[0], trunks, batch)
            layers[modality] = self.layers.init(rng_layers, jnp.zeros(vector.shape, vector.dtype))["params"]
        return trunks | {"params": {"trunks": trunks["params"], "layers": layers}}

    def _loss(self, variables: Variables, batch: Batch, rng: jax.Array):
        trunks, parts = self.trunks(variables), []
        metrics: dict[str, tuple[jax.Array, jax.Array]] = {}
        for number, (modality, trunk) in enumerate(self.parts.trunks.items()):
            vector, new = trunk.apply(trunks, batch, jax.random.fold_in(rng, number), True)
            trunks = join(trunks, new)
            logits = self._logits(variables, modality, vector)
            total, count = losses.classification(logits, batch["class"])
            parts.append(total / count)
            metrics |= {f"loss_{modality}": (total, count),
                        f"accuracy_{modality}": losses.hits(logits, batch["class"], jnp.ones(logits.shape[:1]))}
        loss = sum(parts)
        del trunks["params"]
        return loss, trunks, metrics | {"loss": (loss, jnp.ones(()))}

    @staticmethod
    def trunks(variables: Variables) -> dict[str, Any]:
        """The trunks' share of the variables of both classifiers."""
        return {**variables, "params": variables["params"]["trunks"]}

    def probabilities(self, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        """Modality -> f32[B, K]. Inference mode."""
        trunks = self.trunks(variables)
        return {modality: jax.nn.softmax(self._logits(variables, modality, trunk.apply(trunks, batch, None, False)[0]))
                for modality, trunk in self.parts.trunks.items()}

    def _logits(self, variables: Variables, modality: str, vector: jax.Array) -> jax.Array:
        return self.layers.apply({"params": variables["params"]["layers"][modality]}, vector)


def agreement(one: jax.Array, other: jax.Array) -> jax.Array:
    """f32[B]: the probability that two draws from distributions f32[B, K] over the same classes are equal, p . q."""
    return jnp.sum(one * other, -1)


def best_threshold(score: np.ndarray, label: np.ndarray) -> float:
    """The threshold that `score > threshold` agrees most often with `label == 1` for; of several the lowest.

    Candidates lie below all scores, above all, and halfway between any two neighbours.

    Args:
      score: float[n].
      label: int[n], 0 or 1.
    """
    values = np.unique(score).astype(np.float64)
    candidates = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1]]])
    true, false = np.sort(score[label == 1]), np.sort(score[label == 0])
    right = len(true) - np.searchsorted(true, candidates, "right") + np.searchsorted(false, candidates, "right")
    return float(candidates[right.argmax()])


def fusion_objective(system: System, parts: Parts, frozen: Variables) -> Objective:
    """Correspondence by a new fusion on frozen trunks: their statistics stay, and no gradient reaches them.

    Args:
      system: of which the fields are used.
      parts: of the system.
      frozen: variables of the trunks, of which only the shapes are used: the loss finds them as the collection `frozen`.
    """

    def pooled(variables, batch, rng):
        return {modality: trunk.apply(variables, batch, None if rng is None else jax.random.fold_in(rng, number), False)[0]
                for number, (modality, trunk) in enumerate(parts.trunks.items())}

    def init(rng, batch):
        shapes = jax.eval_shape(lambda variables: pooled(variables, batch, None), frozen)
        return parts.fusion.init(rng, {modality: jnp.zeros(leaf.shape, leaf.dtype) for modality, leaf in shapes.items()})

    def loss(variables, batch, rng):
        vectors = pooled(variables["frozen"], batch, rng)
        logits, new = parts.fusion.apply(_without_frozen(variables), vectors, rng, True)
        label, weight = batch["label"], jnp.ones(batch["label"].shape, jnp.float32)
        total, count = losses.correspondence(logits, label, weight)
        metrics = {"loss": (total, count), "accuracy": losses.hits(logits, label, weight)}
        return total / count, {**new, "frozen": variables["frozen"]}, metrics

    return Objective(system.features, init, loss)


def _without_frozen(variables: Variables) -> dict[str, Any]:
    return {name: values for name, values in variables.items() if name != "frozen"}


# The evaluator ----------------------------------------------------------------------------------------------------------


class Baselines:
    """Trains both baselines on the labelled training clips and scores them on the pairs of `AVC`.

    They do not depend on the network that is asked about: they are trained once, and say nothing of the untrained one.
    """

    def __init__(self, setting: Setting):
        self._setting = setting
        self._train = _labelled(setting.train, {clip.label for clip in setting.train.clips})
        self._classes = sorted({clip.label for clip in self._train.clips})
        self._heldout = _labelled(setting.heldout, set(self._classes))

    def missing(self) -> str | None:
        if self._setting.system.parts is None or self._setting.system.score is None:
            return (f"{self._setting.config.system.name} does not say what its trunks and its fusion are (System.parts, "
                    "System.score), which the supervised baselines are built of")
        if not self._setting.heldout.holds_pairs:
            return f"config.data.source={self._setting.config.data.source} gives no frames and sounds to make false pairs of"
        if len(self._classes) < 2 or self._train.num_files < 4:
            return (f"the training clips are labelled with {len(self._classes)} classes, in {self._train.num_files} files, "
                    "expected two and four at least; the column label of the manifest (config.data.manifest) gives clips their "
                    "labels")
        if self._heldout.num_files < 2:
            return (f"the held-out clips with a class that training knows are of {self._heldout.num_files} file(s), expected two "
                    "at least")
        return None

    def __call__(self, network: Network) -> dict[str, Any]:
        return copy.deepcopy(self._result) if network.name == "trained" else {}

    def rows(self, trained: dict[str, Any], untrained: dict[str, Any] | None) -> list[Row]:
        names = {"direct_combination": "direct combination", "supervised_pretraining": "supervised pretraining"}
        note = f"Trained on {trained['train_clips']} labelled clips of {trained['classes']} classes; not of this network"
        return [Row(f"AVC accuracy, {words}", trained[name]["accuracy"], None, 0.5, note=note) for name, words in names.items()]

    @functools.cached_property
    def _result(self) -> dict[str, Any]:
        setting, config = self._setting, self._setting.config
        parts, score = setting.system.parts, setting.system.score
        assert parts is not None and score is not None  # missing() says so
        own, validation = split_files(self._train, config.baselines.validation, config.evaluate.seed)
        classifiers = Classifiers(setting.system, parts, Layers(config.baselines.hidden, len(self._classes)))
        known, seen = self._fit("supervised classifiers", classifiers.objective(), self._classified(own))
        trunks = classifiers.trunks(known)
        fusion, _ = self._fit("fusion of supervised trunks", fusion_objective(setting.system, parts, trunks),
                              self._batches(own, "independent", tuple(setting.system.features)), frozen=trunks)
        fused = join(trunks, _without_frozen(fusion))

        def direct(variables, batch):
            return agreement(*classifiers.probabilities(variables, batch).values())

        _, pairs = self._score(direct, validation, known, keep=len(validation.clips))
        threshold = float(multihost_utils.broadcast_one_to_all(np.float64(best_threshold(pairs["score"], pairs["label"]))))
        return {
            "direct_combination": self._score(lambda *given: _decide(direct(*given), threshold), setting.heldout, known)[0]
            | {"threshold": threshold},
            "supervised_pretraining": self._score(score, setting.heldout, fused)[0],
            "class_accuracy": {modality: self._class_accuracy(classifiers, known, modality) for modality in parts.trunks},
            "train_class_accuracy": {modality: seen[f"accuracy_{modality}"] for modality in parts.trunks},
            "classes": len(self._classes), "train_clips": len(own.clips), "validation_clips": len(validation.clips),
            "steps": config.baselines.steps,
        }

    def _fit(self, what: str, objective: Objective, batches, frozen: Variables | None = None):
        """Trains with the optimizer of the run, over as many steps as are to be done here."""
        config = copy.deepcopy(self._setting.config)
        config.train.steps = config.baselines.steps
        return fit(what, objective, optimizers.make_optimizer(config), batches, self._setting, num_steps=config.baselines.steps,
                   accumulate=config.train.accumulate, frozen=frozen)

    def _batches(self, source: Source, pairing: str, names: tuple[str, ...]) -> Iterator[pipeline.Batch]:
        config = self._setting.config
        order = plan.Plan(len(source.clips), config.evaluate.seed, config.train.batch_size, config.data.pairs_per_visit)
        reader = source.reader(order, make_format(config), self._setting.quarantine, self._setting.system.features,
                               pairing=pairing)
        return pipeline.train_batches(reader, first_step=0, host=jax.process_index(), hosts=jax.process_count(),
                                      threads=config.data.decode_threads, ahead=config.data.prefetch_batches, names=names)

    def _classified(self, source: Source) -> Iterator[pipeline.Batch]:
        """Batches of true pairs with their class."""
        number = self._numbers(source)
        for batch in self._batches(source, "none", (*self._setting.system.features, "clip")):
            batch["class"] = number[batch.pop("clip")]
            yield batch

    def _numbers(self, source: Source) -> np.ndarray:
        """int32[clips] class of each clip."""
        return np.array([self._classes.index(clip.label) for clip in source.clips], np.int32)

    def _score(self, score: Callable[[Variables, Batch], jax.Array], source: Source, variables: Variables, *, keep: int = 0,
               fields: tuple[str, ...] = ()):
        """What `AVC` gives for another way to score pairs, which may look at more fields of theirs."""
        setting = self._setting
        features = {**setting.system.features, **{name: Feature((), "int32") for name in fields}}
        system = dataclasses.replace(setting.system, features=features, score=score)
        avc = AVC(system, setting.config, source, setting.mesh, setting.quarantine)
        result, pairs = avc(variables, keep=keep, on_batch=lambda *_: setting.pulse(), on_wait=setting.wait)
        if result["clips"] == 0:
            raise errors.DataError(f"Supervised baselines: none of the {result['skipped']} clips to score can be used; see the "
                                   "quarantine ledger.")
        return result, pairs

    def _class_accuracy(self, classifiers: Classifiers, variables: Variables, modality: str) -> float:
        """Share of held-out clips with a known class that are classified right: of true pairs, by one of their halves."""
        number = jnp.asarray(self._numbers(self._heldout))

        def is_right(variables, batch):
            return (classifiers.probabilities(variables, batch)[modality].argmax(-1) == number[batch["clip"]]).astype(jnp.float32)

        return self._score(is_right, self._heldout, variables, fields=("clip",))[0]["accuracy_positive"]


def _decide(score: jax.Array, threshold: float) -> jax.Array:
    return (score > threshold).astype(jnp.float32)


def _labelled(source: Source, classes: set[str]) -> Source:
    """The clips of a source that have one of the classes."""
    return dataclasses.replace(source, clips=tuple(clip for clip in source.clips if clip.label and clip.label in classes))


def split_files(source: Source, share: float, seed: int) -> tuple[Source, Source]:
    """(The rest, a share of the files chosen by seed): at least two files each, no file in both."""
    files = np.unique([clip.file for clip in source.clips])
    count = min(max(2, round(share * len(files))), len(files) - 2)
    chosen = set(files[plan.epoch_order(seed, 0, len(files))[:count]].tolist())
    return tuple(dataclasses.replace(source, clips=tuple(clip for clip in source.clips if (clip.file in chosen) == wanted))
                 for wanted in (False, True))  # type: ignore[return-value]


def make(setting: Setting, features) -> Baselines:
    """The evaluator of a run."""
    return Baselines(setting)
