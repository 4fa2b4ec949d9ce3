"""Small things to test with: configs, batches, variables, and videos that say which they are."""

from collections.abc import Mapping
from typing import Any

import media
import ml_collections
import numpy as np

from avc_jax import config as configs

NUM_VIDEOS = 6
_SMALL = {
    "system.width": 1 / 16,
    "system.conv1_stride": 2,
    "data.frame_short_side": 32,
    "data.frame_size": 32,
    "data.window_s": 0.5,
    "audio.rate_hz": 8000,
    "train.batch_size": 8,
    "train.compilation_cache": False,
}


def changed(tree: ml_collections.ConfigDict, changes: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A config with keys changed in place, "section.key" or "section__key" -> value, and checked."""
    for path, value in changes.items():
        section, name = path.replace("__", ".").split(".")
        assert name in tree[section], path
        tree[section][name] = value
    configs.check(tree)
    return tree


def config(**changes) -> ml_collections.ConfigDict:
    """A checked l3net config of 1/16 width, 32 pixels and half a second at 8 kHz; changes as `train__steps=3`."""
    return changed(ml_collections.ConfigDict(configs.default("l3net").to_dict()), _SMALL | {
        name.replace("__", "."): value for name, value in changes.items()})


def batch(system, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random rows of a system's features; labels alternate, every row is of a file of its own."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, feature in system.features.items():
        kind = np.dtype(feature.dtype)
        info = np.iinfo(kind)
        made[name] = rng.integers(info.min // 3, info.max // 3, (rows, *feature.shape)).astype(kind)
    made["label"] = (np.arange(rows) % 2).astype(np.int32)
    made["file"] = np.arange(rows, dtype=np.int32)
    return made


def zeros(system, rows: int) -> dict[str, np.ndarray]:
    """Zeros in the shapes of a system's features."""
    return {name: np.zeros((rows, *feature.shape), feature.dtype) for name, feature in system.features.items()}


def variables(system, seed: int = 0):
    """Random variables of a system, filled by NumPy: compiling the real `init` takes seconds."""
    import jax

    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        name = path[-1].key
        noise = rng.normal(size=leaf.shape)
        value = {
            "kernel": lambda: noise * np.sqrt(2 / max(1, np.prod(leaf.shape[:-1]))),
            "scale": lambda: 1 + 0.1 * noise,
            "bias": lambda: 0.1 * noise,
            "mean": lambda: 0.1 * noise,
            "var": lambda: 1 + 0.1 * np.abs(noise),
        }[name]()
        return np.asarray(value, leaf.dtype)

    shapes = jax.eval_shape(system.init, jax.random.key(0), zeros(system, 2))
    return jax.tree_util.tree_map_with_path(fill, dict(shapes))


def write_video(path, number: int, *, seconds: float = 2.0, amplitude: float = 0.5):
    """Writes a video at 25 frames a second whose grey level and tone say its number; see `picture_of`, `sound_of`."""
    rate_hz, size = 16000, (64, 48)
    times = [k / 25 for k in range(round(25 * seconds))]
    image = np.full((size[1], size[0], 3), 40 + 30 * number, np.uint8)
    tone = amplitude * np.sin(2 * np.pi * (300 + 250 * number) * np.arange(round(seconds * rate_hz)) / rate_hz)
    return media.write(path, pictures=(image for _ in times), times_s=times, size=size, sound=tone, rate_hz=rate_hz)


def picture_of(frame: np.ndarray) -> int:
    """The number of the video that uint8[h, w, 3] is from."""
    return round((float(frame.mean()) - 40) / 30)


def sound_of(waveform: np.ndarray, rate_hz: int) -> int:
    """The number of the video that int16[n] is from."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return round((spectrum.argmax() * rate_hz / len(waveform) - 300) / 250)
