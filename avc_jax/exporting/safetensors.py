"""The format safetensors: every array under its path in the tree of variables, readable without JAX."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save_file

from avc_jax.exporting.programs import Program
from avc_jax.model import Model
from avc_jax.systems.base import Variables

HOLDS = "arrays"
WITHOUT = ("avc_jax", "jax", "jaxlib", "tensorflow")


def write(folder: Path, model: Model, programs: Sequence[Program]) -> None:
    """Writes `variables.safetensors`."""
    save_file(flatten(model.variables), folder / "variables.safetensors", metadata={"system": model.config.system.name})


def flatten(variables: Variables) -> dict[str, np.ndarray]:
    """The arrays of a tree of dicts by their paths, joined with dots."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(variables))
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.ascontiguousarray(leaf) for path, leaf in leaves}
