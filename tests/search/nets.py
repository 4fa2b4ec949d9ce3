"""A small network with a common space, as a model folder."""

from pathlib import Path

import tiny

from avc_jax import model, systems


def save(folder: Path, seed: int = 0, **changes) -> Path:
    """Writes a model folder with random variables; changes as for `tiny.config`."""
    config = tiny.config(**({"system__head": "ave", "audio__stft_window_s": 0.032, "audio__stft_hop_s": 0.016} | changes))
    system = systems.make(config)
    return model.save(folder, model.Model(config, system, tiny.variables(system, seed), 7))
