"""The optax chain that a config asks for, and what it leaves alone."""

import dataclasses

import jax
import optax

from avc_jax.systems.base import Objective
from avc_jax.train import patterns


def make_schedule(config) -> optax.Schedule:
    """step -> learning rate: linear warm-up, then constant, cosine to zero at train.steps, or exponential decay."""
    own, steps = config.optimizer, config.train.steps
    after = {
        "constant": lambda: optax.constant_schedule(own.lr),
        "cosine": lambda: optax.cosine_decay_schedule(own.lr, max(1, steps - own.warmup_steps)),
        "exponential": lambda: _staircase(own),
    }[own.schedule]()
    if not own.warmup_steps:
        return after
    warmup = optax.linear_schedule(0.0, own.lr, own.warmup_steps)
    return optax.join_schedules([warmup, after], [own.warmup_steps])


def _staircase(own) -> optax.Schedule:
    decay = optax.exponential_decay(own.lr, own.decay_steps, own.decay_rate, staircase=True)
    return lambda step: decay(step + own.decay_early)


def make_optimizer(config) -> optax.GradientTransformation:
    """Clipping, weight decay, update rule and learning rate, in this order; frozen parameters have no part in any of them.

    The l2 form adds the gradient of weight_decay * sum(W^2), which is 2 * weight_decay * W, before Adam rescales it;
    the decoupled form shrinks W by lr * weight_decay after. Under Adam the second is far weaker at equal values.
    """
    own, freeze = config.optimizer, patterns.split(config.init.freeze)

    def frozen(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: patterns.matches(freeze, patterns.name_of(path)), params)

    def kernels(params):
        """True for the leaves named kernel that train: neither biases nor normalisation decay."""
        return jax.tree_util.tree_map_with_path(lambda path, held: path[-1].key == "kernel" and not held, frozen(params))

    rule = {"adam": optax.scale_by_adam, "sgd": lambda: optax.trace(own.momentum)}[own.name]()
    chain = [optax.masked(optax.set_to_zero(), frozen)] if freeze else []
    if own.clip_norm:
        chain.append(optax.clip_by_global_norm(own.clip_norm))
    if own.weight_decay and own.weight_decay_form == "l2":
        chain.append(optax.add_decayed_weights(2 * own.weight_decay, mask=kernels))
    # A mask keeps the rule from having any state for what is frozen.
    chain.append(optax.masked(rule, lambda params: jax.tree.map(lambda held: not held, frozen(params))) if freeze else rule)
    if own.weight_decay and own.weight_decay_form == "decoupled":
        chain.append(optax.add_decayed_weights(own.weight_decay, mask=kernels))
    return optax.chain(*chain, optax.scale_by_learning_rate(make_schedule(config)))


def freeze(objective: Objective, config) -> Objective:
    """The objective as training sees it: config.init.freeze means variables that it does not change.

    Nothing is computed for their gradients, which are zero; their statistics stay unless config.init.freeze_statistics is off.
    Whether a frozen part normalises by the batch or by its statistics is for the system to say.
    """
    frozen = patterns.split(config.init.freeze)
    if not frozen:
        return objective

    def loss(variables, batch, rng):
        def held(path, leaf):
            return jax.lax.stop_gradient(leaf) if patterns.matches(frozen, patterns.name_of(path)) else leaf

        def unchanged(path, new, old):
            return old if patterns.matches(frozen, patterns.name_of(path)) else new

        params = jax.tree_util.tree_map_with_path(held, variables["params"])
        total, new, metrics = objective.loss({**variables, "params": params}, batch, rng)
        if config.init.freeze_statistics:
            new = {name: jax.tree_util.tree_map_with_path(unchanged, tree, variables[name]) for name, tree in new.items()}
        return total, new, metrics

    return dataclasses.replace(objective, loss=loss)
