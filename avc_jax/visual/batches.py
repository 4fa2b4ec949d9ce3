"""Rows of many videos share batches: one queue for each network and shape of its pictures, spread over all devices."""

import collections
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from avc_jax.data.feed import to_devices
from avc_jax.parallel import mesh as meshes
from avc_jax.visual.networks import Stream

_WAITING_BYTES = 1 << 30  # Of pictures whose batch is not full; beyond that, the largest part batch is computed.


class Tag(NamedTuple):
    """Where a row belongs: the place of its video, its stream, and its number."""

    video: int
    stream: str
    row: int


class Batches:
    """Computes rows, in any order."""

    def __init__(self, streams: dict[str, tuple[Stream, Any]], batch_size: int):
        """
        Args:
          streams: name -> the stream and its variables.
          batch_size: rows computed at once; rounded up to a multiple of the devices.
        """
        mesh = meshes.make_mesh()
        self._devices, self._sharding, everywhere = mesh.size, meshes.batch_sharding(mesh), meshes.replicated(mesh)
        self._size = self._padded(batch_size)
        self._variables = {name: jax.device_put(variables, everywhere) for name, (_, variables) in streams.items()}
        self._apply = {name: jax.jit(stream.apply, out_shardings=everywhere) for name, (stream, _) in streams.items()}
        self._queues: dict[tuple, list[tuple[Tag, np.ndarray]]] = collections.defaultdict(list)
        self._compiled: set[tuple] = set()
        self._ahead: collections.deque[tuple[list[Tag], jax.Array]] = collections.deque()
        self._bytes = 0

    def _padded(self, count: int) -> int:
        return -(-count // self._devices) * self._devices

    def add(self, tag: Tag, pictures: np.ndarray) -> Iterator[tuple[Tag, np.ndarray]]:
        """Takes the pictures of a row, and yields (tag, f16[D]) of rows that are finished."""
        key = (tag.stream, pictures.shape)
        self._queues[key].append((tag, pictures))
        self._bytes += pictures.nbytes
        if len(self._queues[key]) == self._size:
            yield from self._start(key)
        elif self._bytes > _WAITING_BYTES:
            yield from self._start(max(self._queues, key=lambda key: sum(rows.nbytes for _, rows in self._queues[key])))

    def finish(self) -> Iterator[tuple[Tag, np.ndarray]]:
        """Yields all that is left."""
        for key in list(self._queues):
            yield from self._start(key)
        while self._ahead:
            yield from self._take()

    def _start(self, key: tuple) -> Iterator[tuple[Tag, np.ndarray]]:
        """Starts a batch, full or not, and takes the one before the last."""
        queue = self._queues.pop(key)
        count = len(queue)
        self._bytes -= sum(pictures.nbytes for _, pictures in queue)
        # A shape that never filled a batch is rare: a smaller program then.
        full = count == self._size or key in self._compiled
        shape = self._size if full else min(self._size, self._padded(1 << (count - 1).bit_length()))
        if full:
            self._compiled.add(key)
        stacked = np.zeros((shape, *key[1]), np.uint8)
        np.stack([pictures for _, pictures in queue], out=stacked[:count])
        on_devices = to_devices({"pictures": stacked}, self._sharding)["pictures"]
        self._ahead.append(([tag for tag, _ in queue], self._apply[key[0]](self._variables[key[0]], on_devices)))
        if len(self._ahead) > 1:
            yield from self._take()

    def _take(self) -> Iterator[tuple[Tag, np.ndarray]]:
        tags, rows = self._ahead.popleft()
        yield from zip(tags, np.asarray(rows)[: len(tags)], strict=True)
