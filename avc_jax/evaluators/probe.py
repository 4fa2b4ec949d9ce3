"""A linear classifier on frozen visual features, as for ImageNet (arXiv:1705.08168, section 4.2)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from avc_jax import augment, losses
from avc_jax.data.plan import Plan
from avc_jax.evaluators import probe_data
from avc_jax.evaluators.base import Network, Row, Setting
from avc_jax.evaluators.fit import fit
from avc_jax.parallel import mesh as meshes
from avc_jax.systems.base import Feature, Objective, Variables

_ROWS = 4096  # Features that are classified at a time.


# Pure -------------------------------------------------------------------------------------------------------------------


def linear(inputs: dict[str, Feature], features: Callable[..., jax.Array], width: int, num_classes: int,
           smoothing: float) -> Objective:
    """A linear layer on features, as something to train; it begins at zero, where every class is as likely as another.

    Args:
      inputs: what a batch holds besides its label.
      features: (frozen variables, batch, rng) -> f32[B, width].
      width, num_classes: of the layer.
      smoothing: see `losses.classification`.
    """

    def init(rng, batch):
        return {"params": {"kernel": jnp.zeros((width, num_classes)), "bias": jnp.zeros(num_classes)}}

    def loss(variables, batch, rng):
        kept = {name: value for name, value in variables.items() if name != "params"}
        logits = classify(variables["params"], features(kept.get("frozen"), batch, rng))
        total, count = losses.classification(logits, batch["label"], smoothing)
        hits = losses.hits(logits, batch["label"], jnp.ones(logits.shape[:1]))
        return total / count, kept, {"loss": (total, count), "accuracy": hits}

    return Objective(inputs | {"label": Feature((), "int32")}, init, loss)


def classify(params, features: jax.Array) -> jax.Array:
    """f32[B, K] logits of f32[B, D]."""
    return features @ params["kernel"] + params["bias"]


def recolour(rng: jax.Array, frame: jax.Array, brightness: float, saturation: tuple[float, float]) -> jax.Array:
    """Mirrors half of uint8[B, H, W, 3] and changes their colours, as in training on correspondence."""
    rng_flip, rng_colour = jax.random.split(rng)
    frame = augment.colour(rng_colour, augment.flip(rng_flip, frame / 255.0), brightness=brightness, saturation=saturation)
    return jnp.round(255 * frame).astype(jnp.uint8)


def top_share(logits: np.ndarray, label: np.ndarray, k: int) -> float:
    """Share of rows of f32[n, K] in which fewer than k other classes score at least as high as that of the label int[n]."""
    own = np.take_along_axis(logits, label[:, None], 1)
    return float(np.mean(np.count_nonzero(~(logits < own), axis=1) <= k))


def commonest_share(label: np.ndarray, k: int) -> float:
    """Share of int[n] labels in the k commonest classes: what guessing those gives; k / K if all K are as common."""
    return float(np.sort(np.bincount(label))[::-1][:k].sum() / len(label))


# The evaluator ----------------------------------------------------------------------------------------------------------


class Probe:
    """Trains the linear layer of a network's visual transfer features on train, and scores it on test."""

    def __init__(self, setting: Setting, features):
        """
        Raises:
          ConfigError: the batch does not fit the devices.
          MissingInputError: config.probe.dataset names pictures that are not there.
        """
        self._setting, config = setting, setting.config
        if self._unable():
            return
        meshes.check_batch_size("config.probe.batch_size", config.probe.batch_size, 1, setting.mesh)
        self._size = setting.system.features["frame"].shape[0]
        if config.probe.dataset and config.probe.image_size:
            self._size = config.probe.image_size
        self._data = probe_data.make(setting, features, self._size)
        self.data_sha256 = self._data.data_sha256

    def missing(self) -> str | None:
        return self._unable() or self._data.missing()

    def _unable(self) -> str | None:
        system, name = self._setting.system, self._setting.config.system.name
        if "frame" not in system.features:
            return f"{name} takes no frames, and the probe classifies pictures"
        return f"{name} has no transfer features, which the probe classifies" if system.transfer is None else None

    def __call__(self, network: Network) -> dict[str, Any]:
        own = self._setting.config.probe
        test, test_label = self._data.features(network, "test")
        if own.augment:
            inputs, batches, features = {"frame": Feature((self._size, self._size, 3), "uint8")}, self._data.crops(), self._see
            frozen: Variables | None = network.variables
        else:
            train, label = self._data.features(network, "train")
            inputs, batches = {"x": Feature(train.shape[1:], "float32")}, self._rows(train, label)
            features, frozen = (lambda _, batch, rng: batch["x"]), None
        system = linear(inputs, features, test.shape[1], self._data.num_classes, own.label_smoothing)
        schedule = optax.exponential_decay(own.lr, max(1, own.steps // own.lr_decays), own.lr_decay, staircase=True)
        variables, metrics = fit(f"probe of the {network.name} network", system, optax.adam(schedule), batches, self._setting,
                                 num_steps=own.steps, frozen=frozen)
        return self._score(variables, test, test_label) | {"train_loss": metrics["loss"], "train_accuracy": metrics["accuracy"],
                                                           "train": self._data.num_train}

    def _see(self, variables: Variables, batch, rng: jax.Array) -> jax.Array:
        own = self._setting.config.probe
        frame = recolour(rng, batch["frame"], own.brightness, own.saturation)
        transfer = self._setting.system.transfer
        assert transfer is not None  # missing() says so
        return transfer(variables, {"frame": frame})["video"]

    def _rows(self, features: np.ndarray, label: np.ndarray) -> probe_data.Batches:
        """Batches of rows in the order of a plan: this process's."""
        own, hosts = self._setting.config, jax.process_count()
        size = own.probe.batch_size
        plan, share = Plan(len(label), own.evaluate.seed, size), size // hosts
        step = 0
        while True:
            begin = step * size + jax.process_index() * share
            rows = plan.clips(np.arange(begin, begin + share))
            yield {"x": features[rows], "label": label[rows]}
            step += 1

    def _score(self, variables: Variables, features: np.ndarray, label: np.ndarray) -> dict[str, Any]:
        """Of the layer on the test pictures."""
        answer = jax.jit(classify, out_shardings=meshes.replicated(self._setting.mesh))
        logits = np.concatenate([np.asarray(answer(variables["params"], features[begin : begin + _ROWS]))
                                 for begin in range(0, len(features), _ROWS)])
        nats, count = losses.classification(logits, label)
        return {"top1": top_share(logits, label, 1), "top5": top_share(logits, label, 5), "chance1": commonest_share(label, 1),
                "chance5": commonest_share(label, 5), "loss": float(nats / count), "test": len(label),
                "classes": self._data.num_classes, "steps": self._setting.config.probe.steps}

    def rows(self, trained: dict[str, Any], untrained: dict[str, Any] | None) -> list[Row]:
        note = (f"A linear layer on frozen visual features, {trained['classes']} classes, trained on {trained['train']} pictures "
                f"and scored on {trained['test']}; chance is the commonest classes")
        return [Row(f"Linear probe of frames: top-{k} accuracy", trained[f"top{k}"], untrained[f"top{k}"] if untrained else None,
                    trained[f"chance{k}"], note=note) for k in (1, 5) if k == 1 or trained["classes"] > 5]


def make(setting: Setting, features) -> Probe:
    """The evaluator of a run."""
    return Probe(setting, features)
