"""What a run carries from step to step, and nothing else."""

import hashlib

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils


class State(flax.struct.PyTreeNode):
    """Everything that the next step depends on, beside the batch and the seed.

    Attributes:
      step: int32[], steps done; also the position in the order of samples.
      params: the parameters.
      collections: the other variables of the network (running statistics).
      opt_state: optax's state.
      ema: moving average of params, or None.
      skipped: int32[], steps that changed nothing because something was not finite.
    """

    step: jax.Array
    params: dict
    collections: dict
    opt_state: optax.OptState
    ema: dict | None
    skipped: jax.Array


def init_state(system, optimizer: optax.GradientTransformation, seed: int, ema: bool) -> State:
    """The state before the first step. Pure in seed; jit it with out_shardings to build it in place."""
    batch = {name: jnp.zeros((2, *feature.shape), feature.dtype) for name, feature in system.features.items()}
    variables = dict(system.init(jax.random.key(seed), batch))
    params = variables.pop("params")
    return State(step=jnp.zeros((), jnp.int32), params=params, collections=variables, opt_state=optimizer.init(params),
                 ema=jax.tree.map(jnp.copy, params) if ema else None, skipped=jnp.zeros((), jnp.int32))


def inference_variables(state: State) -> dict:
    """The variables that evaluation and export use: averaged parameters where there are any."""
    return {"params": state.params if state.ema is None else state.ema, **state.collections}


def params_sha256(params) -> str:
    """Digest of a pytree of arrays: paths, dtypes, shapes and bytes, in the order of the paths.

    Every process has to ask, as each may hold a part.
    """
    digest = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)):
        array = _whole(leaf)
        digest.update(f"{path} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _whole(leaf) -> np.ndarray:
    """An array, gathered from all processes where no one of them has it."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)
