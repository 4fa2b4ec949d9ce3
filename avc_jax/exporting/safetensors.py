"""The format safetensors: every array under its path in the tree of variables, readable without JAX."""

from collections.abc import Sequence
from pathlib import Path

from safetensors.numpy import save_file

from avc_jax.exporting.arrays import flatten
from avc_jax.exporting.programs import Program
from avc_jax.model import Model

HOLDS = "arrays"
WITHOUT = ("avc_jax", "jax", "jaxlib", "tensorflow")


def write(folder: Path, model: Model, programs: Sequence[Program]) -> None:
    """Writes `variables.safetensors`."""
    save_file(flatten(model.variables), folder / "variables.safetensors", metadata={"system": model.config.system.name})
