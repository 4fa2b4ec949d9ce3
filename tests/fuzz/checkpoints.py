"""Checkpoints with a damaged file, or one that is gone: the state of one of the steps, bit for bit, or a clear refusal."""

import functools
import logging
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from fuzz.mutate import damage

from avc_jax.parallel import mesh as meshes
from avc_jax.train.checkpoint import Checkpoints
from avc_jax.train.state import State

APART = True
_STEPS = (1, 2)


def _state(step: int) -> State:
    rng = np.random.default_rng(step)
    params = {"dense": {"kernel": rng.normal(size=(32, 32)).astype(np.float32), "bias": np.full(3, step, np.float32)}}
    state = State(step=jnp.int32(step), params=params, collections={}, opt_state=(optax.scale_by_adam().init(params),), ema=None,
                  skipped=jnp.int32(0))
    return jax.device_put(state, meshes.state_sharding(meshes.make_mesh(jax.device_count(), 1), jax.eval_shape(lambda: state)))


def template() -> State:
    """What its states look like."""
    shapes = jax.eval_shape(lambda: _state(1))
    shardings = meshes.state_sharding(meshes.make_mesh(jax.device_count(), 1), shapes)
    return jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings)


def prepare(folder: Path) -> None:
    for step in _STEPS:
        checkpoints = Checkpoints(folder, keep=9)
        checkpoints.save(_state(step))
        checkpoints.close()  # when it is finished


def check(folder: Path, scratch: Path, number: int, keep: Path | None) -> str:
    logging.disable(logging.CRITICAL)  # Nearly every input is complained of, by Orbax as well.
    rng = np.random.default_rng([5, number])
    files = _files(folder)
    shutil.rmtree(scratch)
    shutil.copytree(folder, scratch, copy_function=os.link)
    # Mostly in the newest step; sometimes in both.
    chosen = [name for name in files if f"/{_STEPS[-1]}" in name] if rng.random() < 0.8 else list(files)
    for _ in range(int(rng.integers(1, 3))):
        name = chosen[int(rng.integers(len(chosen)))]
        path = scratch / name
        path.unlink(missing_ok=True)
        if rng.random() < 0.9:
            path.write_bytes(damage(files[name], rng, list(files.values())).data)
    if keep is not None:
        shutil.copytree(scratch, keep / str(number))
    checkpoints = Checkpoints(scratch, keep=9)
    try:
        found = checkpoints.restore_newest_valid(template())
    finally:
        checkpoints.close()
    if found is None:
        return "none"
    step = int(found.step)
    assert step in _STEPS and _bits(found) == _bits(_state(step)), f"step {step} came back with other numbers"
    return f"step {step}"


@functools.cache
def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _bits(state: State) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
