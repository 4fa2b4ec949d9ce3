"""A linear layer with the initial values that PyTorch gives it, which most published systems were trained from."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Linear(nn.Module):
    """f[B, ..., C] -> f[B, ..., features]; weights and biases start uniform in +-1/sqrt(C).

    Attributes:
      features: units.
      dtype: dtype of the computation; parameters are float32.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = x.shape[-1]

        def uniform(rng, shape, dtype=jnp.float32):
            return jax.random.uniform(rng, shape, dtype, -(inputs**-0.5), inputs**-0.5)

        kernel = self.param("kernel", uniform, (inputs, self.features))
        bias = self.param("bias", uniform, (self.features,))
        return x.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)
