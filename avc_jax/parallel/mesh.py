"""The device mesh and the placements of a state and of a batch on it.

Rows of a batch are spread over the axes data and fsdp, large arrays of a state over fsdp and tensor.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from avc_jax import errors
from avc_jax.train import patterns

DATA, FSDP, TENSOR = AXES = ("data", "fsdp", "tensor")
# Smaller arrays (biases, norms) stay whole on each device: gathering them costs more than it saves.
MIN_SHARDED_SIZE = 4096


def make_mesh(data: int = -1, fsdp: int = 1, devices=None, tensor: int = 1) -> Mesh:
    """A mesh with axes data, fsdp and tensor over all devices; data = -1 takes what the others leave.

    Devices keep the order of their slices and processes: the rows of a process are one stretch of the global batch, whatever the
    mesh, and fsdp and tensor lie within slices and hosts where they fit into them, so that between slices runs data alone.

    Raises:
      ConfigError: the axes do not multiply to the number of devices, or tensor does not fit into a process.
    """
    devices = sorted(jax.devices() if devices is None else devices, key=_place)
    count = len(devices)
    if data == -1 and count % (fsdp * tensor) == 0:
        data = count // (fsdp * tensor)
    if data * fsdp * tensor != count:
        raise errors.ConfigError(f"config.mesh: found data={data}, fsdp={fsdp}, tensor={tensor}; their product has to be the "
                                 f"number of devices, {count}.")
    check_tensor(tensor, count // len({device.process_index for device in devices}))
    return Mesh(np.asarray(devices).reshape(data, fsdp, tensor), AXES)


def check_tensor(tensor: int, own: int) -> None:
    """Raises ConfigError unless config.mesh.tensor divides the `own` devices of each process."""
    if own % tensor:
        raise errors.ConfigError(f"config.mesh.tensor: found {tensor}, expected a divisor of the {own} devices of a process: "
                                 "those that share kernels see the same rows, which one process reads.")


def _place(device) -> tuple[int, int, int]:
    # A TPU slice numbers its chips across its hosts; only some devices have slices.
    return getattr(device, "slice_index", None) or 0, device.process_index, device.id


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Splits the first axis over data and fsdp: fsdp shards parameters, and is a data axis for the batch."""
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def batch_parts(mesh: Mesh) -> int:
    """Into how many parts the rows of a batch are split."""
    return mesh.shape[DATA] * mesh.shape[FSDP]


def on_mesh(mesh: Mesh, function: Callable) -> Callable:
    """The function, to be jitted with rows that lie as `batch_sharding` says; `by_rows` in it sees the mesh."""

    def run(*args):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args)

    return run


def by_rows(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """function(*arrays), within `on_mesh` by each device for its own rows.

    For what treats each row by itself and is made of operations that XLA gathers all rows for on every device, such as
    Fourier transforms.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return function(*arrays)
    rows = PartitionSpec((DATA, FSDP))
    return jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=rows)(*arrays)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


class Rule(NamedTuple):
    """Where the arrays of some variables lie.

    Attributes:
      pattern: of the names of variables, as in `train/patterns.py`.
      placement: for each of the last axes of the array, the mesh axes that it is split over.
    """

    pattern: str
    placement: tuple[tuple[str, ...], ...]


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules of config.mesh.rules: `pattern=placement`, parted by semicolons.

    A placement names a mesh axis, several joined by +, or - for none, for each of the last axes of an array, parted by commas:
    `audio/*/kernel=-,tensor; fusion/*=-` splits the audio trunk's kernels by their outputs, and nothing of the fusion.

    Raises:
      ConfigError: it is not of this form.
    """
    rules = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        pattern, equals, placement = (piece.strip() for piece in part.partition("="))
        axes = tuple(() if axis.strip() == "-" else tuple(axis.strip().split("+")) for axis in placement.split(","))
        named = [axis for several in axes for axis in several]
        if not (pattern and equals) or not set(named) <= {FSDP, TENSOR} or len(named) != len(set(named)):
            raise errors.ConfigError(f"config.mesh.rules: found {part!r}, expected PATTERN=PLACEMENT, which for each of the last "
                                     "axes of an array is fsdp, tensor (each once), fsdp+tensor or -: */kernel=-,tensor.")
        rules.append(Rule(pattern, axes))
    return tuple(rules)


def check_rules(rules: Sequence[Rule], names: Iterable[str]) -> None:
    """Raises ConfigError for a rule that means none of the variables."""
    patterns.check("config.mesh.rules", [rule.pattern for rule in rules], names)


def state_sharding(mesh: Mesh, state, rules: Sequence[Rule] = ()):
    """A NamedSharding per leaf of a pytree of arrays (or their shapes).

    The first rule that means a leaf places it; rules mean the moments and averages of a variable as well. Of the others, each
    large leaf is split over tensor along its last axis (a kernel's outputs), and over fsdp along the largest axis that is left,
    where they divide; everything else is replicated.

    Raises:
      ConfigError: a rule splits an axis that does not divide.
    """

    def place(path, leaf) -> NamedSharding:
        name = patterns.name_of(path)
        for rule in rules:
            if patterns.matches((rule.pattern, f"*/{rule.pattern}"), name):
                return NamedSharding(mesh, _ruled(mesh, rule, name, leaf.shape))
        return NamedSharding(mesh, _default(mesh, leaf))

    return jax.tree_util.tree_map_with_path(place, state)


def _ruled(mesh: Mesh, rule: Rule, name: str, shape: Sequence[int]) -> PartitionSpec:
    placement = rule.placement[max(0, len(rule.placement) - len(shape)):]
    placement = ((),) * (len(shape) - len(placement)) + placement
    for size, axes in zip(shape, placement, strict=True):
        parts = int(np.prod([mesh.shape[axis] for axis in axes]))
        if size % parts:
            raise errors.ConfigError(f"config.mesh.rules: {rule.pattern!r} splits an axis of {size} of {name}, whose shape is "
                                     f"{tuple(shape)}, into {parts} parts. Choose - for that axis, or another mesh.")
    return PartitionSpec(*(axes[0] if len(axes) == 1 else axes or None for axes in placement))


def _default(mesh: Mesh, leaf) -> PartitionSpec:
    axes: list[str | None] = [None] * leaf.ndim
    if leaf.size < MIN_SHARDED_SIZE:
        return PartitionSpec()
    if mesh.shape[TENSOR] > 1 and leaf.ndim > 1 and leaf.shape[-1] % mesh.shape[TENSOR] == 0:
        axes[-1] = TENSOR
    free = [axis for axis in range(leaf.ndim) if axes[axis] is None and leaf.shape[axis] % mesh.shape[FSDP] == 0]
    if mesh.shape[FSDP] > 1 and free:
        axes[max(free, key=lambda axis: leaf.shape[axis])] = FSDP
    return PartitionSpec(*axes) if any(axes) else PartitionSpec()


def gathered(shardings):
    """The placements of parameters where a network uses them: as they lie, but whole along fsdp.

    Left to itself, XLA may also split a convolution over the input channels that fsdp splits its kernel along; jaxlib 0.10.2 then
    gives gradients that are wrong in the third digit, on meshes with all three axes.
    """

    def whole(sharding: NamedSharding) -> NamedSharding:
        axes = [tuple(axis for axis in (several if isinstance(several, tuple) else (several,)) if axis not in (FSDP, None))
                for several in sharding.spec]
        return NamedSharding(sharding.mesh, PartitionSpec(*(several or None for several in axes)))

    return jax.tree.map(whole, shardings)


def check_train_batch(config, mesh: Mesh, processes: int) -> None:
    """Raises ConfigError unless a training batch divides over the devices (see `check_batch_size`), and each process's rows over
    its visits."""
    check_batch_size("config.train.batch_size", config.train.batch_size, config.train.accumulate, mesh)
    group = config.data.pairs_per_visit * processes
    if config.train.batch_size % group:
        raise errors.ConfigError(f"config.train.batch_size: found {config.train.batch_size}, expected a multiple of {group} "
                                 "(config.data.pairs_per_visit x processes).")


def check_batch_size(name: str, batch_size: int, pieces: int, mesh: Mesh) -> None:
    """Raises ConfigError unless each piece of a batch divides over the parts of the mesh that have rows of their own."""
    parts = batch_parts(mesh)
    if batch_size % (pieces * parts):
        raise errors.ConfigError(f"{name}: found {batch_size}, expected a multiple of {pieces * parts} "
                                 f"({parts} parts of {mesh.size} devices x {pieces} pieces per step).")
