"""Trains something small for a number of steps and forgets how it got there: the probes and baselines of evaluators.

It is the step of the train loop without what a run needs besides: no checkpoints, no work directory, no resuming.
"""

import collections
import math
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from avc_jax import errors
from avc_jax.data.feed import Feed
from avc_jax.evaluators.base import Setting
from avc_jax.parallel import mesh as meshes
from avc_jax.systems.base import Objective, Variables
from avc_jax.train import state as states
from avc_jax.train import step as steps
from avc_jax.train.writers import average

_RECENT = 100  # Steps that the metrics are averaged over.
_SAY_S = 10


def fit(what: str, objective: Objective, optimizer: optax.GradientTransformation, batches: Iterator[dict[str, np.ndarray]],
        setting: Setting, *, num_steps: int, accumulate: int = 1,
        frozen: Variables | None = None) -> tuple[Variables, dict[str, float]]:
    """Trains from the first step.

    Args:
      what: is trained, for the lines of progress and errors.
      objective: what is trained.
      optimizer: of its parameters.
      batches: this process's rows of the global batches; endless.
      setting: the devices, and the seed (config.evaluate.seed).
      num_steps: how many.
      accumulate: see config.train.accumulate.
      frozen: a collection of variables that `objective.loss` finds beside its own, under the name frozen, and hands on as it is.

    Returns:
      The variables, on the mesh, and the means of the metrics over the last steps.

    Raises:
      DivergedError: more than config.train.nonfinite_budget steps were not finite.
      Stopped: a signal came.
    """
    seed = setting.config.evaluate.seed

    def start(frozen):
        state = states.init_state(objective, optimizer, seed, False)
        # A copy, because the step donates its state, and the original is somebody's network.
        return state.replace(collections=state.collections | jax.tree.map(jnp.copy, frozen))

    given = {} if frozen is None else {"frozen": frozen}
    shardings = meshes.state_sharding(setting.mesh, jax.eval_shape(start, given))
    state = jax.jit(start, out_shardings=shardings)(given)
    step = steps.jit_step(steps.make_step(objective, optimizer, seed=seed, accumulate=accumulate), setting.mesh, shardings)
    recent: collections.deque = collections.deque(maxlen=_RECENT)
    feed = Feed(batches, meshes.batch_sharding(setting.mesh), on_wait=setting.wait)
    shown = time.monotonic()
    try:
        for number in range(1, num_steps + 1):
            setting.pulse()
            state, metrics = step(state, next(feed))
            recent.append(metrics)
            steps.wait_for_devices(recent)
            if time.monotonic() - shown > _SAY_S:
                loss = average(jax.device_get([metrics])).get("loss", math.nan)
                setting.say(f"  {what}: step {number} of {num_steps}, loss {loss:.3f}")
                shown = time.monotonic()
    finally:
        feed.close()
    skipped, budget = int(state.skipped), setting.config.train.nonfinite_budget
    if skipped > budget or skipped == num_steps:
        raise errors.DivergedError(f"{what}: loss or gradient was not finite in {skipped} of {num_steps} steps, more than "
                                   f"config.train.nonfinite_budget = {budget}; lower its learning rate.")
    return states.inference_variables(state), average(jax.device_get(list(recent)))
