"""The optax chain that a config asks for."""

import jax
import optax


def make_schedule(config) -> optax.Schedule:
    """step -> learning rate: linear warm-up, then constant, cosine to zero at train.steps, or exponential decay."""
    own, steps = config.optimizer, config.train.steps
    after = {
        "constant": lambda: optax.constant_schedule(own.lr),
        "cosine": lambda: optax.cosine_decay_schedule(own.lr, max(1, steps - own.warmup_steps)),
        "exponential": lambda: optax.exponential_decay(own.lr, own.decay_steps, own.decay_rate, staircase=True),
    }[own.schedule]()
    if not own.warmup_steps:
        return after
    warmup = optax.linear_schedule(0.0, own.lr, own.warmup_steps)
    return optax.join_schedules([warmup, after], [own.warmup_steps])


def make_optimizer(config) -> optax.GradientTransformation:
    """Clipping, weight decay, update rule and learning rate, in this order.

    The l2 form adds the gradient of weight_decay * sum(W^2), which is 2 * weight_decay * W, before Adam rescales it;
    the decoupled form shrinks W by lr * weight_decay after. Under Adam the second is far weaker at equal values.
    """
    own = config.optimizer
    rule = {"adam": optax.scale_by_adam, "sgd": lambda: optax.trace(own.momentum)}[own.name]()
    chain = [optax.clip_by_global_norm(own.clip_norm)] if own.clip_norm else []
    if own.weight_decay and own.weight_decay_form == "l2":
        chain.append(optax.add_decayed_weights(2 * own.weight_decay, mask=_kernels))
    chain.append(rule)
    if own.weight_decay and own.weight_decay_form == "decoupled":
        chain.append(optax.add_decayed_weights(own.weight_decay, mask=_kernels))
    return optax.chain(*chain, optax.scale_by_learning_rate(make_schedule(config)))


def _kernels(params):
    """True for the leaves named kernel: neither biases nor normalisation decay."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
