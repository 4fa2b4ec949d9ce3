"""Small states, saved and restored."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from avc_jax.parallel import mesh as meshes
from avc_jax.train.checkpoint import Checkpoints
from avc_jax.train.state import State


def state_at(step, *, mesh=None, width=512, ema=True):
    rng = np.random.default_rng(step)
    params = {"dense": {"kernel": rng.normal(size=(64, width)).astype(np.float32), "bias": np.full(3, -0.0, np.float32)}}
    params["dense"]["bias"][1] = np.float32(1e-40)  # subnormal
    moments = optax.scale_by_adam().init(params)
    moments = moments._replace(mu=jax.tree.map(lambda leaf: leaf + 1, params))
    stats = {"batch_stats": {"mean": rng.normal(size=5).astype(np.float32)}}
    state = State(step=jnp.int32(step), params=params, collections=stats,
                  opt_state=(moments, optax.EmptyState()), ema=jax.tree.map(lambda leaf: leaf * 2, params) if ema else None,
                  skipped=jnp.int32(3))
    mesh = mesh or meshes.make_mesh(8, 1)
    return jax.device_put(state, meshes.state_sharding(mesh, jax.eval_shape(lambda: state)))


def template_of(state, mesh=None):
    shapes = jax.eval_shape(lambda: state)
    shardings = meshes.state_sharding(mesh or meshes.make_mesh(8, 1), shapes)
    return jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings)


def bits(state):
    return [(jax.tree_util.keystr(path), leaf.dtype, leaf.shape, np.asarray(leaf).tobytes())
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)]


def save(folder, *numbers, keep=9):
    checkpoints = Checkpoints(folder, keep=keep)
    for number in numbers:
        checkpoints.finish(state_at(number))
    checkpoints.close()


def restore(folder, template=None, **options):
    checkpoints = Checkpoints(folder, keep=9, **options)
    try:
        return checkpoints.restore_newest_valid(template or template_of(state_at(1)))
    finally:
        checkpoints.close()
