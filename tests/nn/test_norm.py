"""Batch normalisation against Flax's and against separate batches."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avc_jax.nn.norm import BatchNorm

X = np.random.default_rng(0).normal(1.5, 2.0, (8, 5, 4, 3)).astype(np.float32)
SCALE, BIAS = np.array([0.5, 1.0, -2.0], np.float32), np.array([0.1, 0.0, -1.0], np.float32)
MEAN, VAR = np.array([0.3, 1.0, 2.0], np.float32), np.array([0.5, 4.0, 2.0], np.float32)
VARIABLES = {"params": {"scale": SCALE, "bias": BIAS}, "batch_stats": {"mean": MEAN, "var": VAR}}


def ours(x, train=True, **options):
    y, new = BatchNorm(**options).apply(VARIABLES, jnp.asarray(x), train, mutable=["batch_stats"])
    return np.asarray(y), new["batch_stats"]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(8, 5, 4, 3), (8, 3)])
def test_global_normalisation_equals_that_of_flax(train, shape):
    x = X.reshape(-1, 3)[: np.prod(shape[:-1])].reshape(shape)
    theirs = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-3)
    wanted, wanted_stats = theirs.apply(VARIABLES, x, mutable=["batch_stats"])
    found, stats = ours(x, train, momentum=0.9, epsilon=1e-3)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    for name in ("mean", "var"):
        np.testing.assert_allclose(stats[name], wanted_stats["batch_stats"][name], rtol=1e-6)


def test_gradient_equals_that_of_flax():
    weight = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)

    def loss(module, *args):
        def of(params, x):
            y, _ = module.apply({**VARIABLES, "params": params}, x, *args, mutable=["batch_stats"])
            return (y * weight).sum()

        return of

    found = jax.grad(loss(BatchNorm(), True), (0, 1))(VARIABLES["params"], X)
    wanted = jax.grad(loss(nn.BatchNorm(use_running_average=False, epsilon=1e-3), ), (0, 1))(VARIABLES["params"], X)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, wanted)


def test_each_group_is_normalised_like_a_batch_of_its_own_and_statistics_are_averaged():
    found, stats = ours(X, group_size=2, momentum=0.9)
    parts = [ours(X[row : row + 2], momentum=0.9) for row in range(0, 8, 2)]
    np.testing.assert_allclose(found, np.concatenate([part[0] for part in parts]), atol=2e-6)
    for name in ("mean", "var"):
        np.testing.assert_allclose(stats[name], np.mean([part[1][name] for part in parts], axis=0), rtol=1e-6)
    assert np.abs(found - ours(X)[0]).max() > 0.01  # groups matter here


def test_running_statistics_follow_their_formula():
    _, stats = ours(X, momentum=0.75)
    np.testing.assert_allclose(stats["mean"], 0.75 * MEAN + 0.25 * X.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.75 * VAR + 0.25 * X.var((0, 1, 2)), rtol=1e-5)


def test_inference_uses_running_statistics_and_leaves_them():
    found, stats = ours(X, train=False)
    np.testing.assert_allclose(found, (X - MEAN) / np.sqrt(VAR + 1e-3) * SCALE + BIAS, atol=1e-5)
    np.testing.assert_array_equal(stats["mean"], MEAN)
    np.testing.assert_array_equal(stats["var"], VAR)


def test_bfloat16_gives_bfloat16_from_float32_statistics():
    x = jnp.asarray(X, jnp.bfloat16)
    wide, wide_stats = ours(np.asarray(x, np.float32))
    y, new = BatchNorm(dtype=jnp.bfloat16).apply(VARIABLES, x, True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    for name in ("mean", "var"):
        assert new["batch_stats"][name].dtype == jnp.float32
        np.testing.assert_allclose(new["batch_stats"][name], wide_stats[name], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(y, np.float32), wide, atol=0.05)
    eval_y = BatchNorm(dtype=jnp.bfloat16).apply(VARIABLES, x, False)
    assert eval_y.dtype == jnp.bfloat16


def test_parameters_are_float32_whatever_the_precision_and_initialising_leaves_statistics_alone():
    variables = BatchNorm(dtype=jnp.bfloat16).init(jax.random.key(0), jnp.asarray(X, jnp.bfloat16), True)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], 0)
    np.testing.assert_array_equal(variables["batch_stats"]["var"], 1)


def test_batch_that_does_not_split_into_groups_raises():
    with pytest.raises(ValueError, match="8 rows does not split into normalisation groups of 3"):
        ours(X, group_size=3)


def test_batch_smaller_than_a_group_is_one_group():
    np.testing.assert_array_equal(ours(X, group_size=16)[0], ours(X)[0])


def test_constant_input_gives_the_bias_and_finite_gradients():
    flat = np.full((4, 3), 1000.0, np.float32)
    found, _ = ours(flat)
    np.testing.assert_allclose(found, np.broadcast_to(BIAS, (4, 3)), atol=1e-2)
    grad = jax.grad(lambda x: BatchNorm().apply(VARIABLES, x, True, mutable=["batch_stats"])[0].sum())(jnp.asarray(flat))
    assert np.isfinite(grad).all()
