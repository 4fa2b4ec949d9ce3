"""The eight-layer VGG-like trunk of L3-Net, for frames and for spectrograms alike."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax.nn.norm import BatchNorm
from avc_jax.nn.pool import max_pool

BLOCKS = (64, 128, 256, 512)


class VGGTrunk(nn.Module):
    """Four blocks of two 3x3 convolutions, each with batch normalisation and ReLU; 2x2 max-pools between them.

    Arandjelovic & Zisserman 2017 (arXiv:1705.08168), Figure 2.

    Attributes:
      width: factor on the channels 64-128-256-512.
      conv1_stride: stride of the first convolution; 1 as drawn in the paper, 2 as in arXiv:1712.06651.
      conv_bias: add biases to the convolutions (redundant under batch normalisation; the Keras port has them).
      group_size, momentum, epsilon: see `BatchNorm`.
      dtype: dtype of the computation; parameters are float32.
      remat: recompute each block's activations in the backward pass.
    """

    width: float = 1.0
    conv1_stride: int = 1
    conv_bias: bool = False
    group_size: int = 0
    momentum: float = 0.99
    epsilon: float = 1e-3
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """f[B, H, W, C] -> f[B, H', W', 512 * width]: conv4_2 after ReLU, before the global max-pool."""
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for index, channels in enumerate(BLOCKS, start=1):
            if index > 1:
                x = max_pool(x)
            x = block(
                channels=max(1, round(channels * self.width)),
                stride=self.conv1_stride if index == 1 else 1,
                conv_bias=self.conv_bias,
                norm=dict(group_size=self.group_size, momentum=self.momentum, epsilon=self.epsilon),
                dtype=self.dtype,
                name=f"block{index}",
            )(x, train)
        return x


class Block(nn.Module):
    """Two 3x3 'SAME' convolutions, each followed by batch normalisation and ReLU. f[B, H, W, C] -> f[B, H', W', channels]."""

    channels: int
    stride: int
    conv_bias: bool
    norm: dict[str, float]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for index, stride in ((1, self.stride), (2, 1)):
            x = nn.Conv(self.channels, (3, 3), (stride, stride), padding="SAME", use_bias=self.conv_bias,
                        kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name=f"conv{index}")(x)
            x = BatchNorm(**self.norm, dtype=self.dtype, name=f"norm{index}")(x, train)
            x = nn.relu(x)
        return x


def global_max_pool(x: jax.Array) -> jax.Array:
    """f[B, H, W, C] -> f[B, C]: the largest activation of each unit.

    A pooling window over the whole map rather than `x.max`: the gradient of `max` looks for the elements that equal it, and
    finds none where the compiler recomputed x with another rounding.
    """
    return nn.max_pool(x, x.shape[1:3])[:, 0, 0]


def pool_to_grid(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """f[B, H, W, C] -> f[B, rows' * columns' * C]: max-pooled with equal kernel and stride to at most rows x columns cells.

    What is left over at the lower and right edges is not used; a map smaller than the grid stays as it is.
    """
    kernel = max(1, x.shape[1] // rows), max(1, x.shape[2] // columns)
    return nn.max_pool(x, kernel, kernel)[:, :rows, :columns].reshape(x.shape[0], -1)
