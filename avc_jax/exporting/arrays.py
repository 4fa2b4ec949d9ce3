"""A tree of variables as one dict of arrays."""

import jax
import numpy as np

from avc_jax.systems.base import Variables


def flatten(variables: Variables) -> dict[str, np.ndarray]:
    """The arrays of nested dicts by their paths, joined with dots: params.vision.block1.conv1.kernel."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(variables))
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.ascontiguousarray(leaf) for path, leaf in leaves}
