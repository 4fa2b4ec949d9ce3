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
SCHEDULE = "schedule"  # the collection of what counts steps: it is saved with a run, and a run that starts from it begins anew
Metrics = dict[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count); divided once, where it is written


@dataclasses.dataclass(frozen=True)
class Feature:
    """One field of an example as it reaches the device: shape and dtype without the batch axis.

    `modality` says what of the system's answers it is the input of (video, audio, text); empty for labels and the like.
    What is padded has a companion `<name>_length`, int32: how many entries along its padded axis are real; 0: it is missing.
    """

    shape: tuple[int, ...]
    dtype: str
    unit: str = ""
    modality: str = ""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a network, with its own share of the variables.

    Attributes:
      init: (rng, inputs) -> variables.
      apply: (variables, inputs, rng, train) -> (f32[B, C], new mutable collections). With a key the inputs are augmented as in
        training, with None they are taken as they are; `train` says whether normalisation uses the batch's statistics.
    """

    init: Callable[[jax.Array, Any], Variables]
    apply: Callable[[Variables, Any, jax.Array | None, bool], tuple[jax.Array, Variables]]


@dataclasses.dataclass(frozen=True)
class Parts:
    """A system taken apart, for who puts it together otherwise, such as the baselines of evaluators.

    The shares of the variables do not overlap, and joined they are variables of the system.

    Attributes:
      trunks: modality -> Part, from a batch to what the trunk hands on: f32[B, C].
      fusion: Part, from modality -> f32[B, C] to f32[B, 2] logits; column 1 says "these belong together".
    """

    trunks: Mapping[str, Part]
    fusion: Part


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How near examples are where a product of two vectors does not say it.

    Attributes:
      sides: (variables, batch) -> modality -> what of it is compared, a tree of arrays whose first axis is that of the batch; of
        the modalities that the batch holds the inputs of. Inference mode.
      score: such a tree of n videos under "video" and one of m sounds under "audio" -> f32[n, m]. It holds a number for each
        place and moment of each pair, so who calls it chooses small n and m.
    """

    sides: Callable[[Variables, Batch], dict[str, Any]]
    score: Callable[[Mapping[str, Any]], jax.Array]


@dataclasses.dataclass(frozen=True)
class Objective:
    """What can be trained: all that the training step asks for.

    Attributes:
      features: field -> Feature; the input layer builds exactly these.
      init: (rng, batch) -> variables. `batch` may be zeros. Of a batch that holds one modality alone, the variables of that one.
      loss: (variables, batch, rng) -> (f32[] loss, new mutable collections, metrics). Training mode.
    """

    features: Mapping[str, Feature]
    init: Callable[[jax.Array, Batch], Variables]
    loss: Callable[[Variables, Batch, jax.Array], tuple[jax.Array, Variables, Metrics]]


@dataclasses.dataclass(frozen=True)
class System(Objective):
    """What a published system offers, beside its objective.

    Attributes:
      embed: (variables, batch) -> modality -> f32[B, D]. Inference mode. Like `maps` and `transfer` it answers for the modalities
        that the batch holds the inputs of, so a batch of sounds alone will do. What several modalities make together has their
        names in alphabetic order: "audio+text".
      maps: (variables, batch) -> modality -> f32[B, H, W, C], activations over the frame (rows, columns), and over the sound
        (frequency, time), in the places that they answer to; None where there are none. Inference mode.
      transfer: (variables, batch) -> modality -> f32[B, D], the features that the paper hands to classifiers, or None. Inference
        mode.
      score: (variables, batch) -> f32[B], the probability that the two halves of an example belong together; None where the
        system does not say.
      common_space: whether the embeddings of the modalities lie in one space, where near means alike.
      similarity: how near two embeddings of the common space are: cosine or dot.
      directions: (query, items) of the retrieval that the paper reports, by the names that `embed` gives: ("text", "video").
      parts: the system taken apart into trunks and fusion; None where it has no such parts.
      checkpoint_keys: kind of a published checkpoint -> how its names map onto our variables; see `avc_jax.convert`.
      cells: modality -> (rows, columns) of the network's input between the middles of neighbouring cells of its map; the first
        middle is half of that from the edge. A modality that is not there: its cells cover the input.
      places: (variables, batch) -> f32[B, H, W, D], each cell of the frame's map in the space of the embeddings, to be compared
        with that of a sound; None where there is no such space. Inference mode.
      compare: how near sounds and pictures are where it is not the product of their embeddings; None where it is.
    """

    embed: Callable[[Variables, Batch], dict[str, jax.Array]]
    maps: Callable[[Variables, Batch], dict[str, jax.Array]] | None = None
    transfer: Callable[[Variables, Batch], dict[str, jax.Array]] | None = None
    score: Callable[[Variables, Batch], jax.Array] | None = None
    common_space: bool = False
    similarity: str = "cosine"
    directions: tuple[tuple[str, str], ...] = (("audio", "video"), ("video", "audio"))
    parts: Parts | None = None
    checkpoint_keys: Mapping[str, Checkpoint] = dataclasses.field(default_factory=dict)
    cells: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    places: Callable[[Variables, Batch], jax.Array] | None = None
    compare: Comparison | None = None


def shapes_of(system: System) -> Variables:
    """The shapes of a system's variables, without computing them."""
    batch = {name: jax.ShapeDtypeStruct((2, *feature.shape), feature.dtype) for name, feature in system.features.items()}
    return dict(jax.eval_shape(system.init, jax.random.key(0), batch))


def check_groups(config) -> None:
    """Checks that the rows of a training batch split into the groups of normalisation of a checked config.

    Raises:
      ConfigError: they do not.
    """
    group, rows = config.system.batch_norm_group, config.train.batch_size // config.train.accumulate
    if group and rows > group and rows % group:
        raise errors.ConfigError(f"config.system.batch_norm_group: found {group}, expected a divisor of the {rows} rows of "
                                 "config.train.batch_size / config.train.accumulate.")


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
    return dataclasses.replace(system, features=features, loss=refuse, score=system.score and refuse, common_space=False,
                               directions=(), parts=None, places=None)
