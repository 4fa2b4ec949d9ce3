"""Names of topologies, and the devices that compilers know them as."""

import contextlib
import math
import os
import re
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import topologies

from avc_jax import errors
from avc_jax.parallel.plan.chips import CHIPS, Chip
from avc_jax.schema import nearest

FORM = "CHIP:SHAPE or CHIP:SHAPE:SLICES, such as v5e:16x16, v5p:4x4x8, v6e:16x16:2, or h100:8x4 (four nodes of eight)"


class Topology(NamedTuple):
    """Accelerators as a plan sees them.

    Attributes:
      name: as the user wrote it.
      chip: what is known of each.
      shape: of a slice, in chips; of GPUs (chips of a node,).
      islands: slices of a TPU, nodes of GPUs: between them runs the slower network.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]
    islands: int

    @property
    def island(self) -> int:
        """Chips of a slice or node."""
        return math.prod(self.shape)

    @property
    def chips(self) -> int:
        return self.island * self.islands


def parse(name: str) -> Topology:
    """The topology of --topology.

    Raises:
      ConfigError: it is not of the form, or of an unknown chip.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)(?::(\d+)(?: ?slices)?)?", name)
    if match is None:
        raise errors.ConfigError(f"--topology={name}: expected {FORM}.")
    kind, shape = match[1], tuple(int(side) for side in match[2].split("x"))
    if kind not in CHIPS:
        raise errors.ConfigError(f"--topology={name}: found {kind!r}, expected one of {', '.join(CHIPS)}.{nearest(kind, CHIPS)}")
    chip, islands = CHIPS[kind], int(match[3] or 1)
    if not chip.tpu:
        if len(shape) > 2 or match[3]:
            raise errors.ConfigError(f"--topology={name}: expected {kind}:GPUSxNODES, such as {kind}:{chip.node}x4.")
        islands, shape = shape[1] if len(shape) == 2 else 1, shape[:1]
        if shape[0] > chip.node:
            raise errors.ConfigError(f"--topology={name}: found {shape[0]} GPUs in a node, expected at most {chip.node}.")
    if not islands * math.prod(shape):
        raise errors.ConfigError(f"--topology={name}: found no chips, expected {FORM}.")
    return Topology(name, chip, shape, islands)


def devices(topology: Topology) -> list:
    """Devices to compile for: those of the TPU compiler, or as many forced CPU devices as there are GPUs.

    Raises:
      ConfigError: the TPU compiler is not installed, or knows no such slice; or JAX has already started with fewer CPU devices.
    """
    return _tpu_devices(topology) if topology.chip.tpu else _cpu_devices(topology)


def _tpu_devices(topology: Topology) -> list:
    # Else libtpu asks the metadata server of the cloud who it is, and waits for an answer.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    kind, _, rest = topology.name.partition(":")
    slices = {"num_slices": topology.islands} if topology.islands > 1 else {}
    try:
        return list(topologies.get_topology_desc(f"{kind}:{rest.partition(':')[0]}", "tpu", **slices).devices)
    except Exception as error:
        if "not installed" in str(error) or isinstance(error, ImportError):
            raise errors.ConfigError(
                f"--topology={topology.name}: Google's TPU compiler is not here. It is a package of PyPI, libtpu, for Linux on "
                "x86-64, best in an environment of its own: python3 -m venv plan && plan/bin/pip install -r "
                "requirements-plan.txt, and then plan/bin/python -m avc_jax.main --mode=plan ...") from error
        raise errors.ConfigError(f"--topology={topology.name}: the TPU compiler knows no such slice: {error}") from error


def _cpu_devices(topology: Topology) -> list:
    with contextlib.suppress(RuntimeError):  # JAX has started already: what is there has to do
        jax.config.update("jax_num_cpu_devices", topology.chips)
    found = jax.devices("cpu")
    if len(found) < topology.chips:
        raise errors.ConfigError(f"--topology={topology.name}: {topology.chips} CPU devices are needed to compile for, and JAX "
                                 f"has started with {len(found)}.")
    return found[: topology.chips]


def hosts(devices: list, topology: Topology) -> int:
    """How many hosts feed the devices."""
    return len({device.process_index for device in devices}) if topology.chip.tpu else topology.islands


def island_of(partition: np.ndarray, topology: Topology) -> np.ndarray:
    """The slice or node of partitions of a program, int[n]: a mesh keeps the order of slices and nodes."""
    return partition // topology.island
