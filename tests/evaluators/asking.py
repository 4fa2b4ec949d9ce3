"""What evaluators are asked with in tests: settings, networks that are cheap to compile, and features that are made up."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from avc_jax.data.quarantine import Quarantine
from avc_jax.evaluators.base import Network, Setting
from avc_jax.evaluators.features import Table
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


def network(factor: float = 1.0, name: str = "trained", statistics: float = 0.0, variables=None) -> Network:
    """A network of `system`, or with the variables of another."""
    if variables is None:
        variables = {"params": {"factor": np.float32(factor)}, "batch_stats": {"mean": np.float32(statistics)}}
    return Network(name, variables, params_sha256(variables["params"]), 1)


def setting(folder, heldout, *, train=None, config=None, asked: System | None = None, devices: int | None = 1,
            say=lambda line: None, pulse=lambda: None, budget: float = 0.5, **changes) -> Setting:
    """A setting whose held-out clips are all of a source.

    Args:
      folder: the work directory.
      heldout, train: sources; train is the same as heldout unless given.
      config: made of the changes unless given.
      asked: whose networks are asked; `system()` unless given.
      devices: how many; None: all.
      say, pulse: of the setting.
      budget: share of bad files that is allowed.
      changes: of the config, as `tiny.config` takes them.
    """
    config = config or tiny.config(**{"evaluate__batch_size": 4, "data__quarantine_budget": budget} | changes)
    return Setting(config, asked or system(), meshes.make_mesh(-1, 1, jax.devices()[:devices]), train or heldout, heldout,
                   Quarantine(None, heldout.num_files, budget), folder, say, pulse)


class Features:
    """Features of clips as a function of them: (network's name, clip) -> modality -> float[D]."""

    def __init__(self, answer):
        self._answer = answer
        self.asked = []

    def clips(self, network, source, kind) -> Table:
        self.asked.append((network.name, len(source.clips), kind))
        rows = [self._answer(network.name, clip) for clip in source.clips]
        values = {modality: np.stack([row[modality] for row in rows]).astype(np.float32) for modality in rows[0]}
        return Table(np.arange(len(rows), dtype=np.int32), values)
