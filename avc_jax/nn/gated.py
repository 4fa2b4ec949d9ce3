"""Gated embedding units (Miech, Laptev & Sivic, arXiv:1706.06905 and arXiv:1906.03327)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax.nn.linear import Linear


class GatedUnit(nn.Module):
    """f[B, C] -> f[B, features]: y = W1 x + b1, and out comes y * sigmoid(W2 y + b2). Nothing is normalised.

    Attributes:
      features: units of both layers.
      dtype: dtype of the computation; parameters are float32.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = Linear(self.features, self.dtype, name="linear")(x)
        return y * nn.sigmoid(Linear(self.features, self.dtype, name="gate")(y))


class GatedFusion(nn.Module):
    """Two vectors to one, f[B, C], f[B, D] -> f[B, features]: z = W1 x + b1 + W2 y + b2, and out comes z * sigmoid(W3 z + b3).

    Attributes: as of `GatedUnit`.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        z = Linear(self.features, self.dtype, name="first")(x) + Linear(self.features, self.dtype, name="second")(y)
        return z * nn.sigmoid(Linear(self.features, self.dtype, name="gate")(z))
