"""DAVEnet: the networks for spoken captions and for pictures that came before ResDAVEnet.

Harwath, Recasens, Suris, Chuang, Torralba & Glass, "Jointly Discovering Visual Objects and Spoken Words from Raw Sensory Input",
ECCV 2018, arXiv:1804.01452, as its released code has them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax.nn.norm import BatchNorm
from avc_jax.nn.pool import max_pool

# Channels and frames of each convolution over time, the first of which spans all mel bands of one frame.
_SOUND = ((128, 1), (256, 11), (512, 17), (512, 17), (1024, 17))
# Channels and number of the 3x3 convolutions between pools (VGG16, arXiv:1409.1556).
PICTURE = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's


class DAVEnet(nn.Module):
    """Five convolutions over time, each with ReLU, and max-pools over 3 frames with stride 2 after all but the first.

    Attributes:
      width: factor on the channels.
      dtype: dtype of the computation; parameters are float32.
    """

    width: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """f[B, M, T] -> f[B, T / 16, 1024 * width]: M mel bands of T frames, normalised by one mean and variance first."""
        norm = BatchNorm(momentum=0.9, epsilon=1e-5, unbiased=True, dtype=self.dtype, name="norm")
        x = norm(x.swapaxes(1, 2)[..., None], train)[..., 0]
        for place, (channels, size) in enumerate(_SOUND, start=1):
            x = nn.relu(nn.Conv(max(1, round(channels * self.width)), (size,), padding=(size // 2,), kernel_init=_INIT,
                                dtype=self.dtype, name=f"conv{place}")(x))
            if place > 1:
                x = nn.max_pool(x, (3,), (2,), padding=((1, 1),))
        return x


class VGG16(nn.Module):
    """The convolutions of VGG16 with ReLU, without its last pool and its classifier; attributes as of `DAVEnet`."""

    width: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """f[B, H, W, 3] -> f[B, H / 16, W / 16, 512 * width]. It does the same in training."""
        for block, (channels, count) in enumerate(PICTURE, start=1):
            if block > 1:
                x = max_pool(x)
            for place in range(1, count + 1):
                x = nn.relu(nn.Conv(max(1, round(channels * self.width)), (3, 3), padding=((1, 1), (1, 1)), kernel_init=_INIT,
                                    dtype=self.dtype, name=f"block{block}_conv{place}")(x.astype(self.dtype)))
        return x
