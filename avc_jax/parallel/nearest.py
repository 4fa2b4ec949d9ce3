"""Exact search among items that are spread over the devices of a mesh: ranks and nearest items, without the matrix of scores.

Each device scores a block of queries with its own items, and tells counts (or its nearest few); only these are exchanged.
"""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from avc_jax.parallel import mesh as meshes

# Scores that a device holds at a time: 16 MB of float32, which a CPU's cache may hold.
SCORES = 1 << 22
# Items of a device are a multiple of this, so that no product of matrices has a ragged edge with a rounding of its own.
_LANES = 128
_AXES = (meshes.DATA, meshes.FSDP)


class Items:
    """Items to search among.

    A device of d holds n / d items of D numbers, and at a time SCORES scores and a few arrays of that size; the host holds the
    queries and one number or k for each. A million items of 1024 numbers on eight devices are 512 MB on each.
    """

    def __init__(self, items: np.ndarray, mesh: Mesh):
        """
        Args:
          items: f32[n, D], n at least 1, the same in every process.
          mesh: devices, all of which take part.
        """
        self._real, self._width = items.shape
        parts = meshes.batch_parts(mesh)
        self._share = -(-self._real // (parts * _LANES)) * _LANES
        self._mesh = mesh
        sharding = meshes.batch_sharding(mesh)
        self._items = jax.make_array_from_callback(
            (self._share * parts, self._width), sharding, lambda index: _padded(items, index[0].start or 0, self._share))
        self._functions: dict[int, Callable] = {}

    def count(self, queries: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many items score higher than the query's own, and how many the same, that one included; scores are dot products.

        An own score that is no number lies behind all others, see `ranking.count`.

        Args:
          queries: f32[q, D].
          own: int[q], the place of each query's own item.

        Returns:
          int64[q], int64[q].
        """
        greater, equal = self._run(0, queries, own.astype(np.int32))
        return greater.astype(np.int64), equal.astype(np.int64)

    def top(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The items with the largest dot products, the largest first; of equals the one that comes first among the items.

        Args:
          queries: f32[q, D].
          k: how many; all if there are fewer.

        Returns:
          f32[q, k] scores, int64[q, k] places of the items.
        """
        k = min(k, self._real)
        scores, places = self._run(k, queries, np.zeros(len(queries), np.int32))
        return scores, places.astype(np.int64)

    def _run(self, k: int, queries: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(queries):
            shape = (0, k) if k else (0,)
            return np.zeros(shape, np.float32 if k else np.int32), np.zeros(shape, np.int32)
        if k not in self._functions:
            share = functools.partial(_nearest if k else _compare, real=self._real, **({"k": k} if k else {}))
            self._functions[k] = jax.jit(jax.shard_map(
                share, mesh=self._mesh, in_specs=(PartitionSpec(_AXES), PartitionSpec(), PartitionSpec()),
                out_specs=PartitionSpec(), check_vma=False))
        parts = list(self._blocks(self._functions[k], queries.astype(np.float32, copy=False), own))
        first, second = (np.concatenate(part)[: len(queries)] for part in zip(*parts, strict=True))
        return first, second

    def _blocks(self, function: Callable, queries: np.ndarray, own: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """What `function` says of one block of queries after the other; the next one is on its way meanwhile."""
        size = max(1, min(SCORES // self._share, len(queries)))
        whole, waiting = meshes.replicated(self._mesh), None
        for begin in range(0, len(queries), size):
            block = [_padded(part, begin, size) for part in (queries, own)]
            block = [jax.make_array_from_callback(part.shape, whole, part.__getitem__) for part in block]
            started = function(self._items, *block)
            if waiting is not None:
                yield jax.device_get(waiting)
            waiting = started
        yield jax.device_get(waiting)


def _padded(rows: np.ndarray, begin: int, size: int) -> np.ndarray:
    """`size` rows from `begin` on; zeros follow the last."""
    part = rows[begin : begin + size]
    return np.pad(part, [(0, size - len(part))] + [(0, 0)] * (part.ndim - 1))


# On one device -----------------------------------------------------------------------------------------------------------


def _scores(items: jax.Array, queries: jax.Array, real: int) -> tuple[jax.Array, jax.Array]:
    """f32[q, m] dot products with this device's items, NaN for what fills up the last ones; the place of the first of them."""
    first = lax.axis_index(_AXES) * len(items)
    products = jnp.dot(queries, items.T, precision=lax.Precision.HIGHEST)
    return jnp.where(first + jnp.arange(len(items)) < real, products, jnp.nan), first


def _compare(items: jax.Array, queries: jax.Array, own: jax.Array, *, real: int) -> tuple[jax.Array, jax.Array]:
    """int32[q] items with a higher score than the own one, int32[q] with the same.

    The own score comes from the same product as the others: another one may round otherwise, and what is equal would not be.
    """
    scores, first = _scores(items, queries, real)
    place = own - first
    here = (place >= 0) & (place < len(items))
    found = jnp.take_along_axis(scores, jnp.clip(place, 0, len(items) - 1)[:, None], 1)
    score = lax.psum(jnp.where(here[:, None], found, 0), _AXES)
    compared = tuple(found.astype(jnp.int32) for found in (scores > score, scores == score))
    # Both sums in one pass: two take XLA ten times as long on a CPU.
    counts = lax.reduce(compared, (jnp.int32(0),) * 2, lambda some, more: tuple(map(lax.add, some, more)), (1,))
    greater, equal = lax.psum(counts, _AXES)
    lost = jnp.isnan(score[:, 0])
    return jnp.where(lost, real - 1, greater), jnp.where(lost, 1, equal)


def _nearest(items: jax.Array, queries: jax.Array, own: jax.Array, *, real: int, k: int) -> tuple[jax.Array, jax.Array]:
    """f32[q, k] largest scores, int32[q, k] their places; devices come in the order of their items, so the first equals win."""
    del own
    scores, first = _scores(items, queries, real)
    best, places = lax.top_k(jnp.where(jnp.isnan(scores), -jnp.inf, scores), min(k, len(items)))
    best, places = (lax.all_gather(part, _AXES, axis=1, tiled=True) for part in (best, places + first))
    best, chosen = lax.top_k(best, k)
    return best, jnp.take_along_axis(places, chosen, 1)
