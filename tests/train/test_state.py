"""The state before the first step, and the digest of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from avc_jax import systems
from avc_jax.train import optimizer as optimizers
from avc_jax.train import state as states

PARAMS = {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(3, np.float32)}, "b": np.float32(1.5)}


def test_digest_changes_with_names_shapes_types_and_bits_and_nothing_else():
    digest = states.params_sha256(PARAMS)
    assert states.params_sha256(jax.tree.map(jnp.asarray, PARAMS)) == digest
    assert states.params_sha256(dict(reversed(PARAMS.items()))) == digest
    flipped = PARAMS["a"]["kernel"].copy()
    flipped.view(np.uint32)[0, 1] ^= 1
    others = [
        PARAMS | {"b": np.float32(1.5000001)},
        PARAMS | {"c": np.float32(1.5)},
        {"a": PARAMS["a"], "c": PARAMS["b"]},
        PARAMS | {"a": PARAMS["a"] | {"kernel": flipped}},
        PARAMS | {"a": PARAMS["a"] | {"kernel": PARAMS["a"]["kernel"].reshape(3, 2)}},
        PARAMS | {"a": PARAMS["a"] | {"kernel": PARAMS["a"]["kernel"].view(np.int32)}},
        PARAMS | {"a": PARAMS["a"] | {"bias": -PARAMS["a"]["bias"]}},  # -0.0
    ]
    assert len({digest, *map(states.params_sha256, others)}) == 1 + len(others)


@pytest.mark.parametrize("ema", [False, True])
def test_inference_takes_averaged_parameters_where_there_are_any(ema):
    state = states.State(step=0, params={"w": 1}, collections={"batch_stats": {"m": 2}}, opt_state=(),
                         ema={"w": 3} if ema else None, skipped=0)
    assert states.inference_variables(state) == {"params": {"w": 3 if ema else 1}, "batch_stats": {"m": 2}}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_state_is_float32_at_every_precision(precision):
    config = tiny.config(train__precision=precision, train__ema_decay=0.9)
    system, optimizer = systems.make(config), optimizers.make_optimizer(config)
    state = jax.eval_shape(lambda: states.init_state(system, optimizer, 0, True))
    for name in ("params", "collections", "ema"):
        assert {leaf.dtype for leaf in jax.tree.leaves(getattr(state, name))} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.opt_state)} <= {jnp.dtype("float32"), jnp.dtype("int32")}
    assert (state.step.shape, state.step.dtype) == ((), jnp.int32)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_keeps_every_type(precision):
    from avc_jax.train import step as steps

    config = tiny.config(train__precision=precision, train__ema_decay=0.9)
    system, optimizer = systems.make(config), optimizers.make_optimizer(config)
    state = jax.eval_shape(lambda: states.init_state(system, optimizer, 0, True))
    batch = {name: jax.ShapeDtypeStruct((8, *feature.shape), feature.dtype) for name, feature in system.features.items()}
    new, _ = jax.eval_shape(steps.make_step(system, optimizer, seed=0, ema_decay=0.9), state, batch)
    types = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert types(new) == types(state)


def test_initial_state_is_pure_in_its_seed():
    class Noise:
        features = {}  # noqa: RUF012

        @staticmethod
        def init(rng, batch):
            return {"params": {"w": jax.random.normal(rng, (3,))}}

    one, again, other = (states.init_state(Noise, optax.sgd(0.1), seed, True) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.params["w"], again.params["w"])
    np.testing.assert_array_equal(one.ema["w"], one.params["w"])
    assert (np.asarray(one.params["w"]) != np.asarray(other.params["w"])).all()
