"""Processes that work beside this one: spawned, unaffected by Ctrl-C, and gone when this one is gone."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnProcess

_starting = threading.Lock()
# Set when this process is about to end, for threads that wait for others.
ending = threading.Event()
atexit.register(ending.set)


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_pool(workers: int, begin: Callable[..., None] | None = None, *args) -> ProcessPoolExecutor:
    """A pool of processes; submit to it `without_main`.

    Args:
      workers: how many.
      begin: called first in each, with `args`.
    """
    # spawn: the caller may have started TensorFlow or JAX, whose threads do not survive a fork.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker,
                               initargs=(os.getpid(), begin, args))


def start(work: Callable[..., None], *args) -> SpawnProcess:
    """Starts work(*args) in a process of its own; several threads may do so at once."""
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(os.getpid(), work, args), daemon=True)
    with _starting, without_main():
        process.start()
    return process


def _work(parent: int, work: Callable[..., None], args: tuple) -> None:
    _start_worker(parent, None, ())
    work(*args)


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Hides the running script while processes are spawned.

    Each would import it again, and with it all of JAX or TensorFlow, for nothing; a script without an
    `if __name__ == "__main__"` guard would even run again.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _start_worker(parent: int, begin: Callable[..., None] | None, args: tuple) -> None:
    """Leaves Ctrl-C to the parent, and ends the worker when the parent is gone (it would wait for ever)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if begin is not None:
        begin(*args)
