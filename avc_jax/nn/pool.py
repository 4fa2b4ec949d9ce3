"""Max-pooling over 2x2 windows, with a gradient that every processor computes quickly."""

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
