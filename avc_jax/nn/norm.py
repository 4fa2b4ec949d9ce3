"""Batch normalisation over the global batch or over groups of it."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class BatchNorm(nn.Module):
    """Batch normalisation of f[B, ..., C] whose statistics span the whole batch or consecutive groups of rows.

    Under jit the batch is the global batch, so `group_size=0` is cross-replica normalisation. `group_size=16` gives
    each 16 rows their own statistics, as workers with 16 pairs each did (Arandjelovic & Zisserman 2017, section 2.3).
    Running statistics average the groups' and are kept in the collection `batch_stats`, in float32.

    Attributes:
      group_size: rows per group; 0 = the whole batch. A batch smaller than a group is one group.
      momentum: share of the old running statistics kept at each step.
      epsilon: added to the variance.
      unbiased: the running variance averages sums of squares over n - 1 instead of n, as PyTorch's does; the batch is still
        divided by the root of the mean over n.
      dtype: dtype of the output; statistics are always float32.
    """

    group_size: int = 0
    momentum: float = 0.99
    epsilon: float = 1e-3
    unbiased: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        if not train:
            factor = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
            return (x * factor + (bias - running_mean.value * factor)).astype(self.dtype)
        size = min(self.group_size or x.shape[0], x.shape[0])
        if x.shape[0] % size:
            raise ValueError(f"A batch of {x.shape[0]} rows does not split into normalisation groups of {size}.")
        grouped = x.reshape(-1, size, *x.shape[1:])
        axes = tuple(range(1, grouped.ndim - 1))
        # One pass over the activations: both moments are sums of the same read. float32 even if x is bfloat16.
        wide = grouped.astype(jnp.float32)
        mean = wide.mean(axes)
        var = jnp.maximum((wide * wide).mean(axes) - mean * mean, 0.0)
        if not self.is_initializing():
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean.mean(0)
            count = grouped.size / (grouped.shape[0] * channels)
            spread = count / max(count - 1, 1) if self.unbiased else 1.0
            running_var.value = keep * running_var.value + (1 - keep) * spread * var.mean(0)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        shift = bias - mean * factor
        shape = (grouped.shape[0],) + (1,) * len(axes) + (channels,)
        return (grouped * factor.reshape(shape) + shift.reshape(shape)).reshape(x.shape).astype(self.dtype)
