"""Audio front ends as pure jnp functions, for use inside the jitted step."""

import jax
import jax.numpy as jnp
import numpy as np


def stft_sizes(rate_hz: int, window_s: float, hop_s: float, fft_length: int = 0) -> tuple[int, int, int]:
    """(window, hop, FFT length) in samples; an FFT length of 0 becomes the next power of two of the window."""
    window, hop = round(window_s * rate_hz), round(hop_s * rate_hz)
    return window, hop, fft_length or 1 << (window - 1).bit_length()


def num_stft_frames(num_samples: int, window: int, hop: int) -> int:
    """How many whole windows fit, without padding."""
    return 1 + (num_samples - window) // hop


def stft(waveform: jax.Array, window: int, hop: int, fft_length: int) -> jax.Array:
    """Short-time Fourier transform with a periodic Hann window and no padding at the ends of the sound.

    Args:
      waveform: f32[B, N], full scale = 1.
      window, hop, fft_length: samples; windows are zero-padded at their end to fft_length.

    Returns:
      c64[B, F, T] with F = fft_length // 2 + 1 bins from 0 Hz to half the rate, T = 1 + (N - window) // hop.
    """
    frames = num_stft_frames(waveform.shape[-1], window, hop)
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    index = np.arange(frames)[:, None] * hop + np.arange(window)[None, :]
    return jnp.fft.rfft(waveform[:, index] * hann, n=fft_length).swapaxes(1, 2)


def log_spectrogram(waveform: jax.Array, *, window: int, hop: int, fft_length: int, floor: float = 1e-12,
                    scale: float = 0.2) -> jax.Array:
    """f32[B, N] -> f32[B, F, T]: scale * log(max(|STFT|, floor)); the default scale is the re-implementation's 1/5.

    The squared magnitude is floored, not the magnitude: the same value without a square root.
    """
    spectrum = stft(waveform, window, hop, fft_length)
    power = spectrum.real**2 + spectrum.imag**2
    return (0.5 * scale) * jnp.log(jnp.maximum(power, floor**2))
