"""Residual networks for pictures: ResNet-18, 34, 50, 101 and 152, as torchvision's weights expect them.

He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, Table 1; in bottlenecks the
3x3 convolution has the stride, as in all published PyTorch weights. Padding is symmetric and explicit: 'SAME' would pad a
convolution of stride 2 on one side only.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax.nn.norm import BatchNorm

# Blocks of the four stages, and the channels of a bottleneck's output as a multiple of its inner ones (1: basic blocks).
DEPTHS = {18: ((2, 2, 2, 2), 1), 34: ((3, 4, 6, 3), 1), 50: ((3, 4, 6, 3), 4), 101: ((3, 4, 23, 3), 4), 152: ((3, 8, 36, 3), 4)}

_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """A ResNet without its pooling and classifier.

    Attributes:
      depth: 18, 34, 50, 101 or 152.
      width: factor on the channels.
      dtype: dtype of the computation; parameters are float32.
      frozen: normalise by the running statistics also in training, and keep them; scales and biases still train.
      dilated: the last stage has stride 1, and its 3x3 convolutions but the first have dilation 2: a map of H/16 x W/16.
      group_size, momentum, epsilon: see `BatchNorm`; the defaults are PyTorch's.
      remat: recompute each block's activations in the backward pass.
    """

    depth: int = 50
    width: float = 1.0
    dtype: jnp.dtype = jnp.float32
    frozen: bool = False
    dilated: bool = False
    group_size: int = 0
    momentum: float = 0.9
    epsilon: float = 1e-5
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """f[B, H, W, 3] -> f[B, ceil(H / 32), ceil(W / 32), C * width]: the last map, C = 512 (18, 34) or 2048 (the others).

        Each of the five halvings rounds up. Pictures are RGB in [0, 1], normalised as the weights expect it.
        """
        train = train and not self.frozen
        norm = dict(group_size=self.group_size, momentum=self.momentum, epsilon=self.epsilon)
        base = max(1, round(64 * self.width))
        x = stem(x.astype(self.dtype), train, base, (2, 2), norm)
        blocks, expansion = DEPTHS[self.depth]
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for stage, count in enumerate(blocks):
            widen = self.dilated and stage == 3
            for index in range(count):
                inner = base * 2**stage
                x = block(inner=inner, out=inner * expansion, basic=expansion == 1,
                          stride=2 if stage and index == 0 and not widen else 1,
                          dilations=((1 if index == 0 else 2), 2) if widen else (1, 1),
                          norm=norm, dtype=self.dtype, name=f"stage{stage + 1}_block{index}")(x, train)
        return x


def stem(x: jax.Array, train: bool, channels: int, strides: tuple[int, ...], norm: dict[str, Any]) -> jax.Array:
    """The first layers of a residual network over any number of axes, made in the module that calls it.

    f[B, ..., 3] -> f[B, ..., channels]: a convolution over 7 elements along each axis with `strides`, normalisation, ReLU, and a
    max-pool over 3 with stride 2. Nothing that lies outside wins a pool: it is padded with -inf.
    """
    axes = len(strides)
    x = nn.Conv(channels, (7,) * axes, strides, padding=((3, 3),) * axes, use_bias=False, kernel_init=_INIT, dtype=x.dtype,
                name="conv1")(x)
    x = nn.relu(BatchNorm(**norm, unbiased=True, dtype=x.dtype, name="norm1")(x, train))
    return nn.max_pool(x, (3,) * axes, (2,) * axes, padding=((1, 1),) * axes)


class Block(nn.Module):
    """Two convolutions over `size` elements along each axis (basic), or one between two over one element; and a shortcut.

    f[B, ..., C] -> f[B, ceil(... / stride), out]. The shortcut is a strided convolution with normalisation where the shapes
    differ ("shortcut B" of arXiv:1512.03385), else the input.

    Attributes:
      inner: channels between the convolutions.
      out: channels of the output.
      basic: which of the two.
      stride: of the first convolution over `size` elements, along each axis.
      dilations: of a basic block's two convolutions; a bottleneck has the first.
      norm: arguments of `BatchNorm`.
      dtype: dtype of the computation.
      groups: of a bottleneck's middle convolution (the cardinality of ResNeXt).
      size: elements along each axis that a convolution sees; odd.
    """

    inner: int
    out: int
    basic: bool
    stride: int
    dilations: tuple[int, int]
    norm: dict[str, Any]
    dtype: jnp.dtype
    groups: int = 1
    size: int = 3

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.basic:
            y = nn.relu(self._layer(x, train, "1", self.inner, self.size, self.stride, self.dilations[0]))
            y = self._layer(y, train, "2", self.out, self.size, 1, self.dilations[1])
        else:
            y = nn.relu(self._layer(x, train, "1", self.inner, 1))
            y = nn.relu(self._layer(y, train, "2", self.inner, self.size, self.stride, self.dilations[0], self.groups))
            y = self._layer(y, train, "3", self.out, 1)
        if self.stride > 1 or x.shape[-1] != self.out:
            x = self._layer(x, train, "_shortcut", self.out, 1, self.stride)
        return nn.relu(x + y)

    def _layer(self, x, train, name, channels, size, stride=1, dilation=1, groups=1):
        """A convolution over `size` elements along each axis, and its normalisation."""
        axes, reach = x.ndim - 2, dilation * (size // 2)
        x = nn.Conv(channels, (size,) * axes, (stride,) * axes, padding=((reach, reach),) * axes, kernel_dilation=dilation,
                    feature_group_count=groups, use_bias=False, kernel_init=_INIT, dtype=self.dtype, name=f"conv{name}")(x)
        return BatchNorm(**self.norm, unbiased=True, dtype=self.dtype, name=f"norm{name}")(x, train)
