"""Random changes of training examples, inside the jitted step: pure in `rng`, vectorised over the batch."""

import jax
import jax.numpy as jnp


def flip(rng: jax.Array, frame: jax.Array) -> jax.Array:
    """Mirrors each frame of f32[B, H, W, C] left-right with probability one half."""
    coin = jax.random.bernoulli(rng, shape=(frame.shape[0], 1, 1, 1))
    return jnp.where(coin, frame[:, :, ::-1], frame)


def _brightness(frame: jax.Array, delta: jax.Array) -> jax.Array:
    return jnp.clip(frame + delta, 0.0, 1.0)


def _saturation(frame: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales the HSV saturation with hue and value kept: every channel moves along the line to the largest one."""
    value = frame.max(-1, keepdims=True)
    chroma = value - frame.min(-1, keepdims=True)
    # Saturation is chroma / value and may not pass 1.
    factor = jnp.minimum(factor, value / jnp.maximum(chroma, 1e-6))
    return value - (value - frame) * factor


def colour(rng: jax.Array, frame: jax.Array, *, brightness: float, saturation: tuple[float, float]) -> jax.Array:
    """Changes brightness and saturation of f32[B, H, W, 3] in [0, 1], in an order drawn per frame.

    Args:
      rng: key.
      frame: f32[B, H, W, 3] RGB in [0, 1].
      brightness: each frame gets an offset from U(-brightness, brightness), then is clipped to [0, 1].
      saturation: each frame's HSV saturation is multiplied by a factor from U(low, high).
    """
    shape = (frame.shape[0], 1, 1, 1)
    rng_delta, rng_factor, rng_order = jax.random.split(rng, 3)
    delta = jax.random.uniform(rng_delta, shape, minval=-brightness, maxval=brightness)
    factor = jax.random.uniform(rng_factor, shape, minval=saturation[0], maxval=saturation[1])
    brightness_first = _saturation(_brightness(frame, delta), factor)
    saturation_first = _brightness(_saturation(frame, factor), delta)
    return jnp.where(jax.random.bernoulli(rng_order, shape=shape), brightness_first, saturation_first)


def gain(rng: jax.Array, waveform: jax.Array, low: float, high: float) -> jax.Array:
    """Multiplies each sound of f32[B, N] by one factor from U(low, high), constant over the sound."""
    return waveform * jax.random.uniform(rng, (waveform.shape[0], 1), minval=low, maxval=high)
