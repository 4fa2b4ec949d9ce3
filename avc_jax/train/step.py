"""One training step as a pure function, and the jitted, sharded, donating form of it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from avc_jax.parallel import mesh as meshes
from avc_jax.systems.base import Objective
from avc_jax.train.state import State

# Which operations XLA hands to YNNPACK on a CPU. jaxlib 0.10.2 hands it convolutions, whose kernel gradients are then up to three
# times slower than XLA's own. With sums alone the whole step was fastest: benchmarks/RESULTS.md.
CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
# Steps that may wait for the devices. Two hide what it takes to start one. More only hold batches in memory, and dozens of
# programs with collectives at once can block each other on a CPU that plays several devices: XLA then ends the process.
LEAD = 2


def _gradients(system: Objective, params, collections, batch, rng):
    """Loss gradients over one piece of a batch: (grads, new collections, loss, metrics)."""

    def objective(params):
        loss, new, metrics = system.loss({"params": params, **collections}, batch, rng)
        return loss, (new, metrics)

    (loss, (new, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(params)
    return grads, dict(new), loss, metrics


def _accumulated_gradients(system: Objective, params, collections, batch, rng, pieces: int):
    """Mean gradients over `pieces` equal parts of the batch, one after another, so that one part's activations live."""
    # Rows i, i + pieces, ... form a part: every device keeps a share of each part, and no row moves between devices.
    parts = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, pieces, *x.shape[1:]), 1, 0), batch)

    def add(carry, inputs):
        grads, collections, loss, metrics = carry
        part, index = inputs
        new_grads, collections, new_loss, new_metrics = _gradients(
            system, params, collections, part, jax.random.fold_in(rng, index))
        plus = lambda a, b: jax.tree.map(jnp.add, a, b)  # noqa: E731
        return (plus(grads, new_grads), collections, loss + new_loss, plus(metrics, new_metrics)), None

    shapes = jax.eval_shape(lambda part: _gradients(system, params, collections, part, rng),
                            jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    carry = (zeros[0], collections, zeros[2], zeros[3])
    (grads, collections, loss, metrics), _ = jax.lax.scan(add, carry, (parts, jnp.arange(pieces)))
    return jax.tree.map(lambda grad: grad / pieces, grads), collections, loss / pieces, metrics


def make_step(system: Objective, optimizer: optax.GradientTransformation, *, seed: int, accumulate: int = 1,
              ema_decay: float = 0.0):
    """Builds (state, batch) -> (state, metrics), pure: the randomness of a step comes from (seed, step) alone.

    A step whose loss or gradient is not finite advances `step`, counts in `skipped`, and changes nothing else.
    Metrics are (sum, count) pairs of f32[].
    """

    def step(state: State, batch):
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        if accumulate == 1:
            grads, collections, loss, metrics = _gradients(system, state.params, state.collections, batch, rng)
        else:
            grads, collections, loss, metrics = _accumulated_gradients(
                system, state.params, state.collections, batch, rng, accumulate)
        norm = optax.global_norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None:
            # In this form the average of what does not change does not change either.
            ema = jax.tree.map(lambda average, now: average + (1.0 - ema_decay) * (now - average), ema, params)
        new = state.replace(params=params, collections=collections, opt_state=opt_state, ema=ema)
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        one = jnp.ones((), jnp.float32)
        metrics = {name: (jnp.where(finite, total, 0.0), jnp.where(finite, count, 0.0))
                   for name, (total, count) in metrics.items()}
        metrics["gradient_norm"] = (jnp.where(finite, norm, 0.0), finite * one)
        state = kept.replace(step=state.step + 1, skipped=state.skipped + (1 - finite.astype(jnp.int32)))
        return state, metrics

    return step


def jit_step(step, mesh: Mesh, state_shardings):
    """Compiles a step over a mesh: the batch is split on its first axis, the state's buffers are donated."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return jax.jit(meshes.on_mesh(mesh, step), in_shardings=(state_shardings, meshes.batch_sharding(mesh)),
                   out_shardings=(state_shardings, meshes.replicated(mesh)), donate_argnums=0,
                   compiler_options=CPU_OPTIONS if on_cpu else None)


def wait_for_devices(metrics: Sequence) -> None:
    """Keeps the host at most `LEAD` steps ahead of the devices.

    Args:
      metrics: of the steps so far, the newest last.
    """
    if len(metrics) > LEAD:
        jax.block_until_ready(metrics[-1 - LEAD])
