"""The contract of a system: pure functions over a pytree of variables, built from a config.

Whoever implements it can be trained, evaluated, embedded with and exported, and never names a file, a device or a
clock. `variables` is Flax's dict of collections: `params`, and whatever mutable collections the network keeps.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

Variables = Mapping[str, Any]
Batch = Mapping[str, jax.Array]
Metrics = dict[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count); divided once, where it is written


@dataclasses.dataclass(frozen=True)
class Feature:
    """One field of an example as it reaches the device: shape and dtype without the batch axis."""

    shape: tuple[int, ...]
    dtype: str
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class System:
    """What a published system offers.

    Attributes:
      features: field -> Feature; the input layer builds exactly these.
      init: (rng, batch) -> variables. `batch` may be zeros.
      loss: (variables, batch, rng) -> (f32[] loss, new mutable collections, metrics). Training mode.
      embed: (variables, batch) -> modality -> f32[B, D]. Inference mode. Like `maps` and `transfer` it answers for the modalities
        that the batch holds the inputs of, so a batch of sounds alone will do.
      maps: (variables, batch) -> modality -> f32[B, H, W, C], activations over the frame (rows, columns), and over the sound
        (frequency, time), in the places that they answer to. Inference mode.
      transfer: (variables, batch) -> modality -> f32[B, D], the features that the paper hands to classifiers. Inference mode.
      score: (variables, batch) -> f32[B], the probability that the two halves of an example belong together.
      cells: modality -> (rows, columns) of the network's input between the middles of neighbouring cells of its map; the first
        middle is half of that from the edge. A modality that is not there: its cells cover the input.
      places: (variables, batch) -> f32[B, H, W, D], each cell of the frame's map in the space of the embeddings, to be compared
        with that of a sound; None where there is no such space. Inference mode.
    """

    features: Mapping[str, Feature]
    init: Callable[[jax.Array, Batch], Variables]
    loss: Callable[[Variables, Batch, jax.Array], tuple[jax.Array, Variables, Metrics]]
    embed: Callable[[Variables, Batch], dict[str, jax.Array]]
    maps: Callable[[Variables, Batch], dict[str, jax.Array]]
    transfer: Callable[[Variables, Batch], dict[str, jax.Array]]
    score: Callable[[Variables, Batch], jax.Array]
    cells: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    places: Callable[[Variables, Batch], jax.Array] | None = None
