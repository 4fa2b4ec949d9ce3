"""The device mesh and the shardings of a state and of a batch on it."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from avc_jax import errors

DATA, FSDP = "data", "fsdp"
# Smaller arrays (biases, norms) stay whole on each device: gathering them costs more than it saves.
MIN_SHARDED_SIZE = 4096


def make_mesh(data: int = -1, fsdp: int = 1, devices=None) -> Mesh:
    """A mesh with axes data and fsdp over all devices; data = -1 takes what fsdp leaves.

    Raises:
      ConfigError: the axes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    if data == -1 and count % fsdp == 0:
        data = count // fsdp
    if data * fsdp != count:
        raise errors.ConfigError(f"config.mesh: found data={data}, fsdp={fsdp}; their product has to be the number of "
                                 f"devices, {count}.")
    return Mesh(np.asarray(devices).reshape(data, fsdp), (DATA, FSDP))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Splits the first axis over every device: fsdp shards parameters, and is a data axis for the batch."""
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def state_sharding(mesh: Mesh, state):
    """A NamedSharding per leaf of a pytree of arrays (or their shapes).

    Each large leaf is split along its largest axis that the fsdp axis divides; everything else is replicated.
    """
    parts = mesh.shape[FSDP]

    def place(leaf) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % parts == 0]
        if parts == 1 or leaf.size < MIN_SHARDED_SIZE or not axes:
            return replicated(mesh)
        chosen = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*(FSDP if axis == chosen else None for axis in range(leaf.ndim))))

    return jax.tree.map(place, state)


def check_batch_size(name: str, batch_size: int, pieces: int, mesh: Mesh) -> None:
    """Raises ConfigError unless each piece of a batch divides over the mesh's devices."""
    if batch_size % (pieces * mesh.size):
        raise errors.ConfigError(f"{name}: found {batch_size}, expected a multiple of {pieces * mesh.size} "
                                 f"({mesh.size} devices x {pieces} pieces per step).")
