"""Residual networks over time for log-mel spectrograms: ResDAVEnet, in whatever widths and depths.

Harwath, Hsu & Glass, "Learning Hierarchical Discrete Linguistic Units from Visually-Grounded Speech", ICLR 2020,
arXiv:1911.09602, appendix; AVLnet (arXiv:2006.09199) and "Everything at Once" (arXiv:2112.04446) have other widths and depths.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax.nn.norm import BatchNorm
from avc_jax.nn.resnet import Block

# After how many layers frames are jittered: after the first convolution and after the first stage (arXiv:1911.09602).
_JITTERED = 2


class ResDAVEnet(nn.Module):
    """A convolution over all mel bands of a frame, and stages of residual blocks over time, each of which halves the rate.

    Attributes:
      widths: channels of the first convolution and of each stage.
      depths: blocks of each stage.
      kernel: frames that a convolution sees; odd.
      jitter: probabilities that a frame is replaced by its left and by its right neighbour, in training.
      jitter_form: centred, or late: every frame one later, as the published code does by adding 0, 1 or 2 instead of -1, 0 or 1.
      frozen: normalise by the running statistics also in training, and keep them; scales and biases still train.
      group_size, momentum, epsilon: see `BatchNorm`; the defaults are PyTorch's.
      dtype: dtype of the computation; parameters are float32.
      remat: recompute each block's activations in the backward pass.
    """

    widths: Sequence[int] = (128, 128, 256, 512, 1024)
    depths: Sequence[int] = (2, 2, 2, 2)
    kernel: int = 9
    jitter: tuple[float, float] = (0.0, 0.0)
    jitter_form: str = "centred"
    frozen: bool = False
    group_size: int = 0
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """f[B, M, T] -> f[B, T', C]: M mel bands of T frames; T' is T, halved for each stage and rounded up each time.

        With jitter, training needs a key of the name "jitter".
        """
        norm = dict(group_size=self.group_size, momentum=self.momentum, epsilon=self.epsilon)
        # Declared by the published networks and never used, but counted among their parameters and kept in their checkpoints.
        BatchNorm(**norm, name="unused_norm")(jnp.zeros((1, 1)), False)
        by_batch = train and not self.frozen
        x = x.swapaxes(1, 2).astype(self.dtype)
        # The paper's kernel spans the bands, so its fan-out counts them; here they are channels.
        init = nn.initializers.variance_scaling(2.0 / x.shape[-1], "fan_out", "normal")
        x = nn.Conv(self.widths[0], (1,), use_bias=False, kernel_init=init, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(BatchNorm(**norm, unbiased=True, dtype=self.dtype, name="norm1")(x, by_batch))
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for stage, (width, count) in enumerate(zip(self.widths[1:], self.depths, strict=True)):
            if train and any(self.jitter) and stage < _JITTERED:
                x = shifted(x, draw_shifts(self.make_rng("jitter"), x.shape[1], self.jitter, self.jitter_form))
            for index in range(count):
                x = block(inner=width, out=width, basic=True, stride=2 if index == 0 else 1, dilations=(1, 1), norm=norm,
                          dtype=self.dtype, size=self.kernel, name=f"stage{stage + 1}_block{index}")(x, by_batch)
        return x


def draw_shifts(rng: jax.Array, frames: int, jitter: tuple[float, float], form: str) -> jax.Array:
    """int32[frames]: where each frame is taken from, relative to its place; one draw for the whole batch.

    Args:
      rng: a key.
      frames: how many.
      jitter: the probabilities of the left and of the right neighbour.
      form: see `ResDAVEnet.jitter_form`.
    """
    left, right = jitter
    drawn = jax.random.choice(rng, 3, (frames,), p=jnp.array([left, 1 - left - right, right]))
    return drawn if form == "late" else drawn - 1


def shifted(x: jax.Array, shifts: jax.Array) -> jax.Array:
    """f[B, T, C] whose frame t is frame t + shifts[t] of x, or the nearest that there is."""
    frames = x.shape[1]
    return jnp.take(x, jnp.clip(jnp.arange(frames) + shifts, 0, frames - 1), axis=1)
