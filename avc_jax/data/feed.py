"""From host batches to sharded device arrays, one step ahead of the step that uses them."""

import atexit
import functools
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from avc_jax.data import decoders, processes

_END_S = 20.0
_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def to_devices(batch: dict[str, np.ndarray], sharding: Sharding) -> dict[str, jax.Array]:
    """This process's rows of a global batch as global arrays, sharded on the first axis."""
    return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}


class Feed:
    """Iterates batches that a thread prepares, on devices, so that reading and transfer overlap the step.

    The waits are short and repeated, because a signal handler runs only when the main thread comes back to Python.
    """

    _POLL_S = 0.2
    _CLOSE_S = 2.0  # What is still being read then, or waits for a source that is away, is left alone until the process ends.

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], sharding: Sharding | None, *, on_wait: Callable[[], None],
                 ahead: int = 1):
        """
        Args:
          batches: this process's rows; endless or not.
          sharding: of the batch axis; None leaves batches on the host.
          on_wait: called several times a second while waiting; it may raise to end the wait.
          ahead: device batches held ready.
        """
        self._batches, self._sharding, self._on_wait = batches, sharding, on_wait
        self._queue: queue.Queue = queue.Queue(maxsize=ahead)
        self._closed = threading.Event()
        self.waited_s = 0.0
        self._thread = threading.Thread(target=self._fill, name="feed", daemon=True)
        _threads.add(self._thread)
        _end_with_this_process()
        self._thread.start()

    def _fill(self) -> None:
        try:
            for batch in self._batches:
                if not self._put(batch if self._sharding is None else to_devices(batch, self._sharding)):
                    return
            self._put(StopIteration())
        except BaseException as error:  # handed to the main thread, which raises it
            self._put(error)

    def _put(self, item) -> bool:
        while not (self._closed.is_set() or processes.ending.is_set()):
            try:
                self._queue.put(item, timeout=self._POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> dict[str, Any]:
        begin = time.monotonic()
        try:
            while True:
                self._on_wait()
                try:
                    item = self._queue.get(timeout=self._POLL_S)
                    break
                except queue.Empty:
                    continue
        finally:
            self.waited_s += time.monotonic() - begin
        if isinstance(item, BaseException):
            self._queue.put(item)  # for whoever asks again; the thread has ended, so there is room
            raise item
        return item

    def close(self) -> None:
        """Ends the thread; what it had prepared is dropped."""
        self._closed.set()
        self._thread.join(timeout=self._CLOSE_S)


@functools.cache
def _end_with_this_process() -> None:
    atexit.register(_end)


def _end() -> None:
    """Ends the reading that is left, see `pipeline._end`, and waits for the threads that asked for it."""
    decoders.end_all()
    for thread in list(_threads):
        thread.join(timeout=_END_S)
