"""The contract of a system: pure functions over a pytree of variables, built from a config.

Whoever implements it can be trained, evaluated, embedded with and exported, and never names a file, a device or a
clock. `variables` is Flax's dict of collections: `params`, and whatever mutable collections the network keeps.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

import jax

from avc_jax import errors
from avc_jax.published.table import Checkpoint

Variables = Mapping[str, Any]
Batch = Mapping[str, jax.Array]
Metrics = dict[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count); divided once, where it is written


@dataclasses.dataclass(frozen=True)
class Feature:
    """One field of an example as it reaches the device: shape and dtype without the batch axis.

    `modality` says what of the system's answers it is the input of (video, audio); empty for labels and the like.
    """

    shape: tuple[int, ...]
    dtype: str
    unit: str = ""
    modality: str = ""


@dataclasses.dataclass(frozen=True)
class System:
    """What a published system offers.

    Attributes:
      features: field -> Feature; the input layer builds exactly these.
      init: (rng, batch) -> variables. `batch` may be zeros. Of a batch that holds one modality alone, the variables of that one.
      loss: (variables, batch, rng) -> (f32[] loss, new mutable collections, metrics). Training mode.
      embed: (variables, batch) -> modality -> f32[B, D]. Inference mode. Like `maps` and `transfer` it answers for the modalities
        that the batch holds the inputs of, so a batch of sounds alone will do.
      maps: (variables, batch) -> modality -> f32[B, H, W, C], activations over the frame (rows, columns), and over the sound
        (frequency, time), in the places that they answer to. Inference mode.
      transfer: (variables, batch) -> modality -> f32[B, D], the features that the paper hands to classifiers. Inference mode.
      score: (variables, batch) -> f32[B], the probability that the two halves of an example belong together.
      checkpoint_keys: kind of a published checkpoint -> how its names map onto our variables; see `avc_jax.convert`.
    """

    features: Mapping[str, Feature]
    init: Callable[[jax.Array, Batch], Variables]
    loss: Callable[[Variables, Batch, jax.Array], tuple[jax.Array, Variables, Metrics]]
    embed: Callable[[Variables, Batch], dict[str, jax.Array]]
    maps: Callable[[Variables, Batch], dict[str, jax.Array]]
    transfer: Callable[[Variables, Batch], dict[str, jax.Array]]
    score: Callable[[Variables, Batch], jax.Array]
    checkpoint_keys: Mapping[str, Checkpoint] = dataclasses.field(default_factory=dict)


def shapes_of(system: System) -> Variables:
    """The shapes of a system's variables, without computing them."""
    batch = {name: jax.ShapeDtypeStruct((2, *feature.shape), feature.dtype) for name, feature in system.features.items()}
    return dict(jax.eval_shape(system.init, jax.random.key(0), batch))


def without(system: System, modalities: Collection[str]) -> System:
    """The part of a system that knows nothing of some modalities: it has neither their inputs nor their variables.

    What needs all of them, `loss` and `score`, is refused with a ConfigError.
    """
    if not modalities:
        return system

    def refuse(*_) -> NoReturn:
        raise errors.ConfigError(f"This model has no {' and no '.join(modalities)} half: it can be neither trained nor scored. "
                                 "It embeds.")

    features = {name: feature for name, feature in system.features.items() if feature.modality not in modalities}
    return dataclasses.replace(system, features=features, loss=refuse, score=refuse)
