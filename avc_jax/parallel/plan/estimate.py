"""From a compiled step to what it takes: memory by part, work, communication, and times by the roofline."""

import dataclasses
import re
import time
from collections import defaultdict
from collections.abc import Mapping

import jax
import numpy as np

from avc_jax.parallel import mesh as meshes
from avc_jax.parallel.plan import collectives, topology
from avc_jax.parallel.plan.collectives import Collective
from avc_jax.parallel.plan.topology import Topology
from avc_jax.train import step as steps
from avc_jax.train.program import Program

# Batches on a device at once: of the steps that wait, of the one that is started, and two that the feed holds ready.
BATCHES = steps.LEAD + 3
GB = 1e9


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a step takes on each chip, and how long.

    Attributes:
      topology, mesh: where; mesh axis -> chips.
      batch: rows of a global batch.
      pairs: pairs that a step scores.
      row_bytes: of one row, as hosts deliver it.
      hosts: that feed the chips.
      parameters: of the network, whole.
      memory: part -> bytes.
      flops, bytes: floating-point operations, and bytes to and from memory.
      collectives: (purpose, kind, group, islands) -> (how many, bytes, seconds) of a step.
      compute_s, memory_s, network_s: what each alone would take of a step.
      compile_s: how long compiling took here.
    """

    topology: Topology
    mesh: Mapping[str, int]
    batch: int
    pairs: int
    row_bytes: int
    hosts: int
    parameters: int
    memory: Mapping[str, int]
    flops: float
    bytes: float
    collectives: Mapping[tuple[str, str, int, int], tuple[int, int, float]]
    compute_s: float
    memory_s: float
    network_s: float
    compile_s: float

    @property
    def total(self) -> int:
        """Bytes of a chip's memory."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        return self.total <= self.topology.chip.memory_gb * GB

    @property
    def step_s(self) -> tuple[float, float]:
        """Seconds of a step: where all three overlap, and where none does."""
        parts = (self.compute_s, self.memory_s, self.network_s)
        return max(parts), sum(parts)


class DoesNotFitError(Exception):
    """The TPU compiler found no way to run the step in a chip's memory."""


def estimate(config, where: Topology, devices: list) -> Estimate:
    """Compiles the step of a config for a topology, and reads off what it takes.

    Args:
      config: checked.
      where: the topology.
      devices: as `topology.devices` gives them.

    Raises:
      ConfigError: mesh or batch do not fit the devices.
      DoesNotFitError: the memory is too small; the message says what is needed.
    """
    mesh = meshes.make_mesh(config.mesh.data, config.mesh.fsdp, devices, config.mesh.tensor)
    count = topology.hosts(devices, where)  # each runs a process
    meshes.check_tensor(config.mesh.tensor, where.chips // count)
    meshes.check_train_batch(config, mesh, count)
    program, began = Program(config, mesh), time.monotonic()
    compiled = _compile(program)
    took = time.monotonic() - began
    found = collectives.read(compiled.as_text(), where.chips, lambda partitions: topology.island_of(partitions, where))
    grouped = _grouped(found, collectives.Purposes(program.template), where)
    # XLA counts the body of a loop once, and nearly all work of a step lies in the loop over its pieces.
    costs = {name: compiled.cost_analysis().get(name, 0.0) * config.train.accumulate for name in ("flops", "bytes accessed")}
    chip = where.chip
    return Estimate(
        topology=where, mesh=dict(mesh.shape), batch=config.train.batch_size,
        pairs=config.train.batch_size * (2 if config.data.pairing == "shared" else 1),
        row_bytes=sum(_bytes(leaf.shape[1:], leaf.dtype) for leaf in program.batch.values()),
        hosts=count, parameters=sum(leaf.size for leaf in jax.tree.leaves(program.template.params)),
        memory=memory(program, compiled), flops=costs["flops"], bytes=costs["bytes accessed"], collectives=grouped,
        compute_s=costs["flops"] / chip.flops_per_s[config.train.precision],
        memory_s=costs["bytes accessed"] / (chip.memory_gb_per_s * GB),
        network_s=sum(seconds for _, _, seconds in grouped.values()), compile_s=took)


def _compile(program: Program):
    try:
        return program.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        used = re.search(r"Used ([\d.]+[KMGT]?) of ([\d.]+[KMGT]?)", str(error))
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DoesNotFitError(f"needs {used[1]} of {used[2]}" if used else str(error).splitlines()[0]) from error


def memory(program: Program, compiled) -> dict[str, int]:
    """Part -> bytes of one device's memory, while a compiled step runs."""
    template, found = program.template, compiled.memory_analysis()
    parts = {"parameters": template.params, "statistics": template.collections, "optimiser": template.opt_state,
             "moving average": template.ema, "counters": (template.step, template.skipped)}
    sizes = {name: _own(tree) for name, tree in parts.items()}
    batch = _own(program.batch)
    # What layouts add to the arguments, which have to be whole tiles on a TPU.
    sizes["padding"] = max(0, found.argument_size_in_bytes - sum(sizes.values()) - batch)
    sizes["batches"] = BATCHES * batch
    sizes["activations and temporaries"] = found.temp_size_in_bytes
    sizes["results"] = max(0, found.output_size_in_bytes - found.alias_size_in_bytes)
    sizes["program"] = found.generated_code_size_in_bytes
    return {name: size for name, size in sizes.items() if size}


def _own(tree) -> int:
    """Bytes of one device's part of a tree of shapes with shardings."""
    return sum(_bytes(leaf.sharding.shard_shape(leaf.shape), leaf.dtype) for leaf in jax.tree.leaves(tree))


def _bytes(shape, dtype) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _grouped(found: list[Collective], purposes: collectives.Purposes, where: Topology):
    """(purpose, kind, group, islands) -> (count, bytes, seconds) of a step, the largest first."""
    totals: dict[tuple[str, str, int, int], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for one in found:
        for purpose, size in purposes.of(one).items():
            total = totals[purpose, one.kind, one.group, one.islands]
            total[0] += one.times
            total[1] += one.times * size
            total[2] += one.times * seconds(one._replace(size=size), where)
    ordered = sorted(totals.items(), key=lambda item: -item[1][1])
    return {key: (int(count), int(size), took) for key, (count, size, took) in ordered}


def seconds(one: Collective, where: Topology) -> float:
    """How long a collective takes at least, by its bytes: rings over all links of a chip within an island, and where it spans
    several, of each chip's part between them. In an all-to-all each chip has something else for every other. Latency is not
    counted."""
    near, far = where.chip.near_gb_per_s * GB, where.chip.far_gb_per_s * GB
    if one.kind == "collective-permute":
        return one.size / (far if one.islands > 1 else near)
    passes, own = 2 if one.kind == "all-reduce" else 1, max(1, one.group // one.islands)
    if "all-to-all" in one.kind:
        return one.size * ((own - 1) / one.group / near + (one.islands - 1) / one.islands / far)
    within = passes * one.size * (own - 1) / own / near
    between = passes * one.size / own * (one.islands - 1) / one.islands / far
    return within + between
