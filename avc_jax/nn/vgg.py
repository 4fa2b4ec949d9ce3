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
      input_norm: normalise the input first, as OpenL3 does.
      openl3_vision: two oddities of OpenL3's vision trunk: ReLU comes before the normalisation of conv1_2, and the pools keep a
        last odd row or column.
      group_size, momentum, epsilon: see `BatchNorm`.
      dtype: dtype of the computation; parameters are float32.
      remat: recompute each block's activations in the backward pass.
    """

    width: float = 1.0
    conv1_stride: int = 1
    conv_bias: bool = False
    input_norm: bool = False
    openl3_vision: bool = False
    group_size: int = 0
    momentum: float = 0.99
    epsilon: float = 1e-3
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """f[B, H, W, C] -> f[B, H', W', 512 * width]: conv4_2 after ReLU, before the global max-pool."""
        norm = dict(group_size=self.group_size, momentum=self.momentum, epsilon=self.epsilon)
        if self.input_norm:
            x = BatchNorm(**norm, dtype=self.dtype, name="input_norm")(x, train)
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for index, channels in enumerate(BLOCKS, start=1):
            if index > 1:
                x = max_pool(_to_even(x) if self.openl3_vision else x)
            x = block(
                channels=max(1, round(channels * self.width)),
                stride=self.conv1_stride if index == 1 else 1,
                conv_bias=self.conv_bias,
                relu_first=self.openl3_vision and index == 1,
                norm=norm,
                dtype=self.dtype,
                name=f"block{index}",
            )(x, train)
        return x


class Block(nn.Module):
    """Two 3x3 'SAME' convolutions, each followed by batch normalisation and ReLU. f[B, H, W, C] -> f[B, H', W', channels].

    With `relu_first` the second one is followed by ReLU and then by normalisation.
    """

    channels: int
    stride: int
    conv_bias: bool
    relu_first: bool
    norm: dict[str, float]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for index, stride in ((1, self.stride), (2, 1)):
            x = nn.Conv(self.channels, (3, 3), (stride, stride), padding="SAME", use_bias=self.conv_bias,
                        kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name=f"conv{index}")(x)
            norm = BatchNorm(**self.norm, dtype=self.dtype, name=f"norm{index}")
            x = norm(nn.relu(x), train) if self.relu_first and index == 2 else nn.relu(norm(x, train))
        return x


def _to_even(x: jax.Array) -> jax.Array:
    """f[B, H, W, C] with a row and a column that no maximum is taken from where H or W is odd: 'same' padding of 2x2 pools."""
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-jnp.inf)


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
