"""The programs that an export offers: the embedding of each modality alone, and the score of an example."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export

from avc_jax.systems.base import Batch, Feature, System, Variables

# Where exported programs run; that which lowers to StableHLO lowers for all of them.
PLATFORMS = ("cpu", "cuda", "tpu")


@dataclasses.dataclass(frozen=True)
class Program:
    """A function for inference.

    Attributes:
      name: embed_<modality>, or score.
      call: (variables, batch) -> name -> f32[B, ...]; names differ between the programs of a system.
      inputs: name -> Feature; the fields of the batch.
      outputs: name -> shape without the batch axis; all are float32.
    """

    name: str
    call: Callable[[Variables, Batch], dict[str, jax.Array]]
    inputs: Mapping[str, Feature]
    outputs: Mapping[str, tuple[int, ...]]

    def shapes(self, rows: Any) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes and dtypes of a batch; rows may be symbolic."""
        return _shapes(self.inputs, rows)

    def describe(self) -> dict[str, Any]:
        """What model.json says of it, as JSON values."""
        return {"inputs": list(self.inputs),
                "outputs": {name: {"shape": ["batch", *shape], "dtype": "float32"} for name, shape in self.outputs.items()}}


def programs_of(system: System, variables: Variables) -> list[Program]:
    """The programs of a system, each with the inputs that its result depends on.

    Args:
      system: with any modalities.
      variables: of the system, or their shapes.
    """
    def embed(modality: str) -> Callable[[Variables, Batch], dict[str, jax.Array]]:
        return lambda variables, batch: {modality: system.embed(variables, batch)[modality]}

    modalities = jax.eval_shape(system.embed, variables, _shapes(system.features, 2))
    calls = {f"embed_{modality}": embed(modality) for modality in sorted(modalities)}
    score = system.score
    if len(modalities) > 1 and score is not None:  # half a network embeds, and scores nothing
        calls["score"] = lambda variables, batch: {"score": score(variables, batch)}
    return [_program(name, call, system.features, variables) for name, call in calls.items()]


def _program(name: str, call: Callable, features: Mapping[str, Feature], variables: Variables) -> Program:
    batch = _shapes(features, 2)
    outputs = jax.eval_shape(call, variables, batch)
    kept = jax.export.export(jax.jit(call), platforms=PLATFORMS[:1])(variables, batch).module_kept_var_idx
    before = len(jax.tree.leaves(variables))
    used = [field for place, field in enumerate(sorted(batch), start=before) if place in kept]  # dicts are flattened by name
    return Program(name, call, {field: features[field] for field in used},
                   {output: value.shape[1:] for output, value in outputs.items()})


def _shapes(features: Mapping[str, Feature], rows: Any) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct((rows, *feature.shape), feature.dtype) for name, feature in features.items()}
