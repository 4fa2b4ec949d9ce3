"""The fastest mesh and batch that fit."""

import math
from collections.abc import Callable, Iterator

from avc_jax.parallel.plan.estimate import DoesNotFitError, Estimate, estimate
from avc_jax.parallel.plan.report import ROW_HEAD, row
from avc_jax.parallel.plan.topology import Topology, hosts

# Doublings of the batch that are tried.
DOUBLINGS = 8


def sweep(config, where: Topology, devices: list, say: Callable[[str], None]) -> Estimate | None:
    """Tries meshes and batches; returns the estimate with the most pairs per second where nothing overlaps, None if nothing fits.

    The first mesh has data alone; its batch is doubled, from config.train.batch_size on, until it fits no more. The others split
    the state, which leaves room: they begin with the largest batch that fitted.

    Args:
      config: checked; not changed.
      where, devices: the topology and what to compile for.
      say: told of each try.
    """
    best, begin = None, config.train.batch_size
    say(ROW_HEAD)
    for fsdp, tensor in _meshes(where, hosts(devices, where)):
        for found in _larger_and_larger(config, where, devices, fsdp, tensor, begin, say):
            begin = max(begin, found.batch)
            if best is None or found.pairs / found.step_s[1] > best.pairs / best.step_s[1]:
                best = found
    return best


def _meshes(where: Topology, count: int) -> list[tuple[int, int]]:
    """(fsdp, tensor): none, over a host, over a slice; and tensor alone over pairs of chips."""
    host = max(1, where.chips // count)
    return list(dict.fromkeys([(1, 1), (host, 1), (where.island, 1), (1, 2 if host % 2 == 0 else 1)]))


def _larger_and_larger(config, where, devices, fsdp: int, tensor: int, begin: int, say) -> Iterator[Estimate]:
    """The estimates that fit."""
    parts = math.lcm(where.chips // tensor * config.train.accumulate, config.data.pairs_per_visit * hosts(devices, where))
    batch = -(-begin // parts) * parts
    for _ in range(DOUBLINGS):
        tried = config.copy_and_resolve_references()
        with tried.unlocked():
            tried.train.batch_size, tried.mesh.data, tried.mesh.fsdp, tried.mesh.tensor = batch, -1, fsdp, tensor
        try:
            found = estimate(tried, where, devices)
        except DoesNotFitError as error:
            say(f"{f'fsdp {fsdp}, tensor {tensor}':<32} {batch:>8} {error}")
            return
        say(row(found))
        if not found.fits:
            return
        yield found
        batch *= 2
