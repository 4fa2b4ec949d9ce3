"""What a config trains on a mesh, before there is an array: the shapes, their placements, and the step to compile.

Training compiles it for the devices that are there, `avc_jax.parallel.plan` for devices that are not.
"""

import dataclasses
import functools

import jax
from jax.sharding import Mesh

from avc_jax import systems
from avc_jax.parallel import mesh as meshes
from avc_jax.systems.base import Objective
from avc_jax.train import optimizer as optimizers
from avc_jax.train import patterns
from avc_jax.train import state as states
from avc_jax.train import step as steps


class Program:
    """A training step with all that it takes and gives.

    Attributes:
      config, mesh: what it was made of.
      system: as the config asks for.
      objective: the system as training sees it, with what is frozen and with parameters gathered where they are split over fsdp.
      optimizer: the optax chain.
      init: () -> State, before the first step; pure.
      shardings: of the state.
      template: the state as jax.ShapeDtypeStruct, with shardings.
      batch: field -> jax.ShapeDtypeStruct of a global batch, with shardings.
    """

    def __init__(self, config, mesh: Mesh):
        """
        Args:
          config: checked.
          mesh: of any devices, also ones that only a compiler knows.

        Raises:
          ConfigError: config.mesh.rules do not fit the network.
        """
        self.config, self.mesh = config, mesh
        self.system = systems.make(config)
        self.optimizer = optimizers.make_optimizer(config)
        self.init = functools.partial(states.init_state, self.system, self.optimizer, config.train.seed,
                                      config.train.ema_decay > 0)
        shapes, rules = jax.eval_shape(self.init), meshes.parse_rules(config.mesh.rules)
        meshes.check_rules(rules, patterns.names(shapes.params) + patterns.names(shapes.collections))
        self.shardings = meshes.state_sharding(mesh, shapes, rules)
        self.objective = _gather(optimizers.freeze(self.system, config), self.shardings.params)
        self.template = jax.tree.map(
            lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding), shapes, self.shardings)
        rows = meshes.batch_sharding(mesh)
        self.batch = {name: jax.ShapeDtypeStruct((config.train.batch_size, *feature.shape), feature.dtype, sharding=rows)
                      for name, feature in self.system.features.items()}

    def lower(self) -> jax.stages.Lowered:
        """The step, ready to be compiled for the mesh's devices."""
        own = self.config.train
        step = steps.make_step(self.objective, self.optimizer, seed=own.seed, accumulate=own.accumulate,
                               ema_decay=own.ema_decay)
        return steps.jit_step(step, self.mesh, self.shardings).lower(self.template, self.batch)


def _gather(objective: Objective, shardings) -> Objective:
    whole = meshes.gathered(shardings)

    def loss(variables, batch, rng):
        params = jax.tree.map(jax.lax.with_sharding_constraint, variables["params"], whole)
        return objective.loss({**variables, "params": params}, batch, rng)

    return objective if whole == shardings else dataclasses.replace(objective, loss=loss)
