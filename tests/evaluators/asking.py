"""Networks to ask that are cheap to compile, and say in plain numbers what they were shown."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from avc_jax.data.quarantine import Quarantine
from avc_jax.evaluators.base import Network, Setting
from avc_jax.parallel import mesh as meshes
from avc_jax.systems.base import Feature, System
from avc_jax.train.state import params_sha256

RATE = 8000


def system(samples: int = RATE // 2) -> System:
    """Its features are the mean grey of a frame and the loudest frequency in Hz of a sound, times its only parameter.

    Its maps are frame and sound themselves.
    """

    def answer(variables, batch, many):
        factor, found = variables["params"]["factor"], {}
        if "frame" in batch:
            found["video"] = factor * jnp.repeat(batch["frame"].astype(jnp.float32).mean((1, 2, 3))[:, None], many, 1)
        if "waveform" in batch:
            hz = jnp.abs(jnp.fft.rfft(batch["waveform"].astype(jnp.float32))).argmax(1) * RATE / samples
            found["audio"] = factor * jnp.repeat(hz[:, None].astype(jnp.float32), 2 * many, 1)
        return found

    def maps(variables, batch):
        return {"video": batch["frame"].astype(jnp.float32), "audio": batch["waveform"].astype(jnp.float32)[:, None, :, None]}

    features = {"frame": Feature((32, 32, 3), "uint8", modality="video"),
                "waveform": Feature((samples,), "int16", modality="audio"), "label": Feature((), "int32"),
                "file": Feature((), "int32")}
    return System(features=features, init=None, loss=None, score=None, maps=maps, embed=lambda *args: answer(*args, 1),
                  transfer=lambda *args: answer(*args, 3))


def network(factor: float = 1.0, name: str = "trained", statistics: float = 0.0) -> Network:
    params = {"factor": np.float32(factor)}
    return Network(name, {"params": params, "batch_stats": {"mean": np.float32(statistics)}}, params_sha256(params), 1)


def setting(folder, source, *, devices: int = 1, asked: System | None = None, say=lambda line: None, pulse=lambda: None,
            budget: float = 0.5, **changes) -> Setting:
    """A setting whose held-out clips are all of a source."""
    config = tiny.config(**{"evaluate__batch_size": 4, "data__quarantine_budget": budget} | changes)
    return Setting(config, asked or system(), meshes.make_mesh(-1, 1, jax.devices()[:devices]), source, source,
                   Quarantine(None, source.num_files, budget), folder, say, pulse)
