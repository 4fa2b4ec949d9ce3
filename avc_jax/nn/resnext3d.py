"""ResNeXt-101 over clips of 16 frames, as the published Kinetics weights expect it.

Hara, Kataoka & Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018, arXiv:1711.09577,
Table 1: cardinality 32, shortcuts of type B.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax.nn.resnet import Block, stem

BLOCKS = (3, 4, 23, 3)
CARDINALITY = 32
_GROUP = 4  # channels of a group in the first stage; each stage doubles them


class ResNeXt3D(nn.Module):
    """ResNeXt-101 without its pooling and classifier.

    Attributes:
      width: factor on the channels of the stem and on the number of groups; a group keeps its channels.
      blocks: of the four stages.
      dtype: dtype of the computation; parameters are float32.
      group_size, momentum, epsilon: see `BatchNorm`; the defaults are PyTorch's.
    """

    width: float = 1.0
    blocks: tuple[int, ...] = BLOCKS
    dtype: jnp.dtype = jnp.float32
    group_size: int = 0
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """f[B, T, H, W, 3] -> f[B, ceil(T / 16), ceil(H / 32), ceil(W / 32), 2048 * width]: the last map.

        Pictures are RGB in [0, 255] with the mean subtracted.
        """
        norm = dict(group_size=self.group_size, momentum=self.momentum, epsilon=self.epsilon)
        groups = max(1, round(CARDINALITY * self.width))
        x = stem(x.astype(self.dtype), train, max(1, round(64 * self.width)), (1, 2, 2), norm)
        for stage, count in enumerate(self.blocks):
            inner = groups * _GROUP * 2**stage
            for index in range(count):
                x = Block(inner=inner, out=2 * inner, basic=False, stride=2 if stage and index == 0 else 1, dilations=(1, 1),
                          norm=norm, dtype=self.dtype, groups=groups, name=f"stage{stage + 1}_block{index}")(x, train)
        return x
