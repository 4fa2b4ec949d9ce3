"""The 2x2 max-pool: the same numbers as the library gives, on any processor."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avc_jax.nn import pool


def _plain(x):
    return nn.max_pool(x, (2, 2), (2, 2))


def _values(shape, dtype, ties: bool):
    """Few distinct values where ties are wanted: most windows then have several largest elements."""
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(-1, 2, shape) if ties else rng.normal(size=shape), dtype)


@pytest.mark.parametrize("size", [(2, 2), (8, 6), (7, 6), (6, 9), (5, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("ties", [False, True])
def test_pool_and_gradient_are_those_of_the_library_bit_for_bit(size, dtype, ties):
    x = _values((3, *size, 5), dtype, ties)
    out, back = jax.vjp(pool.max_pool, x)
    wanted, plain_back = jax.vjp(_plain, x)
    grad = _values(out.shape, dtype, False)
    np.testing.assert_array_equal(out, wanted)
    (got,), (gradient,) = back(grad), plain_back(grad)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, gradient)


def test_equal_elements_give_the_gradient_to_the_first():
    gradient = jax.grad(lambda x: pool.max_pool(x).sum())(jnp.zeros((1, 4, 5, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 0, 1, 0, 0], [0] * 5] * 2)


@pytest.mark.parametrize("around", [jax.jit, jax.checkpoint, jax.vmap])
def test_gradient_survives_what_a_training_step_does_to_it(around):
    x = _values((4, 2, 6, 6, 3), "float32", True)
    if around is not jax.vmap:
        x = x.reshape(8, 6, 6, 3)
    weigh = lambda out: (out * jnp.arange(out.size).reshape(out.shape)).sum()  # noqa: E731
    plain = jax.vmap(_plain) if around is jax.vmap else _plain
    np.testing.assert_array_equal(jax.grad(lambda x: weigh(around(pool.max_pool)(x)))(x), jax.grad(lambda x: weigh(plain(x)))(x))


def test_on_an_accelerator_the_gradient_is_the_library_s():
    """The CPU's own form must not reach a program lowered for another processor."""
    lowered = {platform: jax.export.export(jax.jit(jax.grad(lambda x: pool.max_pool(x).sum())), platforms=[platform])(
        jax.ShapeDtypeStruct((2, 6, 6, 3), "float32")).mlir_module() for platform in ("cpu", "cuda", "tpu")}
    assert {platform: "select_and_scatter" in text for platform, text in lowered.items()} == {
        "cpu": False, "cuda": True, "tpu": True}
