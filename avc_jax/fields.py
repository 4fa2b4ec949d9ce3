"""Fields of a batch that several systems share: what they are (`base.Feature`), and how a network gets its input from them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from avc_jax import audio, errors
from avc_jax.systems.base import Feature

# Decibels of what follows the end of a sound: the lowest that there are, or those of a peak, as stored spectrograms have it.
PADDING = {"floor": -80.0, "loudest": 0.0}
_FRAMES_HZ = audio.MEL40_RATE_HZ // audio.MEL40_HOP


def sound(config) -> dict[str, Feature]:
    """A sound for `spectrogram`, and its length: samples, or a stored spectrogram of 100 frames a second (config.data.sound).

    Raises:
      ConfigError: the config's front end is another one.
    """
    if config.audio.front_end != "mel40":
        raise errors.ConfigError(f"config.audio.front_end: found {config.audio.front_end}, expected mel40, which "
                                 f"config.system.name={config.system.name} hears with.")
    seconds = config.data.window_s
    if config.data.sound == "spectrogram":
        return {"spectrogram": Feature((40, round(seconds * _FRAMES_HZ)), "float16", "decibels; 0 after its end", "audio"),
                "spectrogram_length": Feature((), "int32", "frames; 0: missing", "audio")}
    samples = round(seconds * config.audio.rate_hz)
    return {"waveform": Feature((samples,), "int16", f"full scale 32768, {config.audio.rate_hz} Hz; 0 after its end", "audio"),
            "waveform_length": Feature((), "int32", "samples; 0: missing", "audio")}


def has_sound(batch: Mapping[str, Any]) -> bool:
    """Whether a batch holds sounds."""
    return "spectrogram" in batch or "waveform" in batch


def spectrogram(batch: Mapping[str, jax.Array], config, padding: str) -> tuple[jax.Array, jax.Array]:
    """f32[B, 40, T] decibels of the sounds of a batch, and how many frames int32[B] of each are sound.

    Args:
      batch: what `sound` describes, of any length; without the field of lengths all of it is sound.
      config: the section `audio`.
      padding: a key of PADDING.
    """
    if "spectrogram" in batch:
        level = batch["spectrogram"].astype(jnp.float32)
        length = batch.get("spectrogram_length", jnp.full(len(level), level.shape[2]))
    else:
        waveform = batch["waveform"] / 32768.0
        samples = batch.get("waveform_length", jnp.full(len(waveform), waveform.shape[1]))
        level = audio.mel40(waveform, samples, border=config.mel40_border, window=config.mel40_window)
        # The last of the 1 + N // 160 frames is centred on the end; without it 10 s are 1000 frames, as of stored spectrograms.
        level = level[:, :, :max(1, waveform.shape[1] // audio.MEL40_HOP)]
        length = jnp.where(samples > 0, 1 + samples // audio.MEL40_HOP, 0)
    length = jnp.minimum(length, level.shape[2])
    within = (jnp.arange(level.shape[2]) < length[:, None])[:, None]
    return jnp.where(within, level, PADDING[padding]), length


def video(width: int) -> dict[str, Feature]:
    """The features of a clip's pictures, each stream's largest over time and of unit length, and how many rows there were."""
    return {"video": Feature((width,), "float32", "features", "video"),
            "video_length": Feature((), "int32", "rows that were pooled; 0: missing", "video")}


def words(count: int, width: int = 300) -> dict[str, Feature]:
    """The vectors of a caption's words, and how many there are."""
    return {"words": Feature((count, width), "float16", "word vectors; 0 after the last", "text"),
            "words_length": Feature((), "int32", "words; 0: missing", "text")}


def image(side: int) -> dict[str, Feature]:
    """A picture that belongs to a sound."""
    return {"image": Feature((side, side, 3), "uint8", "RGB, 0..255", "video")}


def there(batch: Mapping[str, jax.Array], name: str) -> jax.Array:
    """bool[B]: in which rows a field is not missing; without a field of lengths in all."""
    length = batch.get(f"{name}_length")
    return jnp.ones(len(batch[name]), bool) if length is None else length > 0
