"""Pooling: the maximum of 2x2 windows, with a gradient that every processor computes quickly, and means over time."""

import flax.linen as nn
import jax
import jax.numpy as jnp


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """f[B, H, W, C] -> f[B, H // 2, W // 2, C]: the largest of each 2x2 window; a last odd row or column is left out.

    The same as `nn.max_pool(x, (2, 2), (2, 2))`, ties included: the first of equal elements gets the gradient. Only how a
    CPU computes the gradient differs, because XLA's select-and-scatter runs there on one core, element by element.
    """
    return nn.max_pool(x, (2, 2), (2, 2))


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return max_pool(x), x


def _backward(x: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
    return (jax.lax.platform_dependent(x, grad, cpu=_spread, default=_scatter),)


def _scatter(x: jax.Array, grad: jax.Array) -> jax.Array:
    return jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)[1](grad)[0]


def _spread(x: jax.Array, grad: jax.Array) -> jax.Array:
    """f[B, H, W, C], f[B, H // 2, W // 2, C] -> f[B, H, W, C]: each window's gradient at its first largest element.

    Elements of a window are compared with each other, never with the pooled value, so exactly one is chosen also where
    the compiler recomputes x with another rounding.
    """
    batch, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    windows = x[:, :2 * rows, :2 * columns].reshape(batch, rows, 2, columns, 2, channels)
    a, b, c, d = (windows[:, :, p:p + 1, :, q:q + 1] for p in range(2) for q in range(2))
    first = jnp.where(jnp.maximum(a, b) >= jnp.maximum(c, d), jnp.where(a >= b, 0, 1), jnp.where(c >= d, 2, 3))
    place = jnp.arange(4).reshape(2, 1, 2, 1)
    spread = jnp.where(first == place, grad[:, :, None, :, None], 0)
    return jnp.pad(spread.reshape(batch, 2 * rows, 2 * columns, channels),
                   ((0, 0), (0, height - 2 * rows), (0, width - 2 * columns), (0, 0)))


max_pool.defvjp(_forward, _backward)


def valid_positions(length: jax.Array, frames: int, positions: int) -> jax.Array:
    """int32[B]: of the positions that a network makes of `frames` frames how many are of the first `length`; at least one.

    A position that padding has a part in is none of them, as in AVLnet's and ResDAVEnet's code.
    """
    return jnp.maximum(1, length // round(frames / positions))


def mean_over_time(x: jax.Array, count: jax.Array | None = None) -> jax.Array:
    """f[B, T, C] -> f32[B, C]: the mean over the first count int32[B] positions, or with None over all."""
    x = x.astype(jnp.float32)
    if count is None:
        return x.mean(1)
    within = (jnp.arange(x.shape[1]) < count[:, None])[..., None]
    return jnp.sum(jnp.where(within, x, 0.0), 1) / count[:, None]
