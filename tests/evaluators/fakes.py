"""What evaluators are asked with in tests: a setting, networks, and features that are made up."""

import numpy as np

from avc_jax.data.quarantine import Quarantine
from avc_jax.evaluators.base import Network, Setting
from avc_jax.evaluators.features import Table
from avc_jax.parallel import mesh as meshes


def setting(config, system, train, heldout, folder) -> Setting:
    """A setting on every device; it says nothing."""
    return Setting(config=config, system=system, mesh=meshes.make_mesh(), train=train, heldout=heldout,
                   quarantine=Quarantine(None, 1000, 0.05), folder=folder, say=lambda line: None, pulse=lambda: None)


def network(name: str = "trained", variables=None) -> Network:
    return Network(name, {} if variables is None else variables, params_sha256=name, step=0)


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
