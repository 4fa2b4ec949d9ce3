"""The tf.data pipeline: visits read in parallel and in order, and put together into batches."""

import atexit
import collections
import contextlib
import threading
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from avc_jax import errors
from avc_jax.data import processes
from avc_jax.data.plan import Plan
from avc_jax.data.reading import Batch, Reader, Rows, Shapes

LEAD = 4  # Visits of files that each thread may be ahead, because a film takes as long as several clips.
_MOST_ROWS = 256  # Rows of stored frames that one thread reads and decodes at a time.

_END_S = 20.0
_calls, _none_left = 0, threading.Condition()

# TensorFlow is here for its input pipeline; the accelerators are JAX's.
tf.config.set_visible_devices([], "GPU")


def read_in_parallel(read: Callable[[int], Rows], count: int, shapes: Shapes, *, threads: int, ahead: int) -> Iterator[Batch]:
    """Yields read(0), ..., read(count - 1), in order.

    Args:
      read: called from several threads at once.
      count: how many.
      shapes: of the fields that are yielded; what else there is, is dropped, and not even decoded where that is still to do.
      threads: reads at once; 0 = one per core.
      ahead: reads finished and held ready.

    Raises:
      whatever `read` raised, itself and not TensorFlow's account of it.
    """
    dtypes = [dtype for _, dtype in shapes.values()]
    failure: list[BaseException] = []

    def call(position: np.int64) -> list[np.ndarray]:
        with _in_python():
            try:
                found = read(int(position))
                return [np.asarray(found[name]) for name in shapes]
            except BaseException as error:
                failure.append(error)
                raise

    def tensors(position: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found = tf.numpy_function(call, [position], dtypes, stateful=True)
        return tuple(tf.ensure_shape(rows, [None, *shape]) for rows, (shape, _) in zip(found, shapes.values(), strict=True))

    threads = threads or processes.count_cores()
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    dataset = tf.data.Dataset.range(count).with_options(options)
    # More calls than threads: what waits for its turn behind a slow one must not hold a thread.
    dataset = dataset.map(tensors, num_parallel_calls=threads + max(1, ahead), deterministic=True).prefetch(1)
    try:
        for values in dataset.as_numpy_iterator():
            yield dict(zip(shapes, values, strict=True))
    except tf.errors.OpError:
        if failure:
            raise failure[0] from None
        raise


@contextlib.contextmanager
def _in_python() -> Iterator[None]:
    """Counts the calls of TensorFlow's threads; at the end of the process there are no more."""
    global _calls
    with _none_left:
        if processes.ending.is_set():
            raise errors.Stopped("The run is ending.")
        _calls += 1
    try:
        yield
    finally:
        with _none_left:
            _calls -= 1
            _none_left.notify_all()


@atexit.register
def _end() -> None:
    # A thread of TensorFlow's that comes back to an interpreter that is going away aborts the process.
    processes.ending.set()
    with _none_left:
        _none_left.wait_for(lambda: not _calls, _END_S)


def disperse(plan: Plan, arrivals: Iterator[list[Batch]], names: tuple[str, ...]) -> Iterator[Batch]:
    """Deals the pairs of visits out to batches, in the order of `plan.rows`.

    Args:
      plan: the plan.
      arrivals: for one step after the other, the new visits of this host; the first k - 1 fill the window.
      names: fields to keep.
    """
    if plan.together:
        for fresh in arrivals:
            yield _joined(fresh, names)
        return
    k = plan.pairs_per_visit
    window: collections.deque[list[Batch]] = collections.deque(maxlen=k)
    for fresh in arrivals:
        window.append(fresh)
        if len(window) == k:
            # Slot by slot, the pair p of the visit that came p steps before the newest: the order of plan.rows.
            rows = [(window[k - 1 - pair][slot], pair) for slot in range(len(fresh)) for pair in range(k)]
            yield {name: np.stack([visit[name][pair] for visit, pair in rows]) for name in names}


def train_batches(reader: Reader, *, first_step: int, host: int = 0, hosts: int = 1, threads: int = 0,
                  ahead: int = 2, names: tuple[str, ...]) -> Iterator[Batch]:
    """This host's rows of the global batches from first_step on, for ever.

    Files are decoded once per visit, and its pairs dealt out. Stored frames are read row by row in the order of the batches,
    as a row costs the same wherever it lies.

    Args:
      reader: of the training split.
      first_step: the step to begin with; resuming at a step needs nothing else.
      host, hosts: which consecutive share of the rows of each global batch to read.
      threads, ahead: see `read_in_parallel`; `ahead` counts batches.
      names: fields to keep.
    """
    plan = reader.plan
    per_host = plan.visits_per_step // hosts
    shapes = {name: reader.shapes[name] for name in names}
    if reader.by_rows:
        yield from _stored_batches(reader, shapes, first_step, host, plan.batch_size // hosts, threads, ahead)
        return

    def read(number: int) -> Rows:
        step, slot = divmod(number, per_host)
        return reader.train((first_step + step) * plan.visits_per_step + host * per_host + slot)

    threads = threads or processes.count_cores()
    stream = read_in_parallel(read, 1 << 62, shapes, threads=threads, ahead=max(ahead * per_host, LEAD * threads))
    yield from disperse(plan, _chunks(stream, per_host), names)


def _stored_batches(reader: Reader, shapes: Shapes, first_step: int, host: int, rows: int, threads: int,
                    ahead: int) -> Iterator[Batch]:
    """As `train_batches`; `rows` of each global batch are this host's."""
    size = next(size for size in range(min(rows, _MOST_ROWS), 0, -1) if rows % size == 0)
    pieces = rows // size

    def read(number: int) -> Rows:
        step, piece = divmod(number, pieces)
        begin = host * rows + piece * size
        return reader.train(*(column[begin : begin + size] for column in reader.plan.rows(first_step + step)))

    stream = read_in_parallel(read, 1 << 62, shapes, threads=threads, ahead=ahead * pieces)
    for parts in _chunks(stream, pieces):
        yield _joined(parts, tuple(shapes))


def _joined(parts: list[Batch], names: tuple[str, ...]) -> Batch:
    """The rows of all parts, in order."""
    return {name: parts[0][name] if len(parts) == 1 else np.concatenate([part[name] for part in parts]) for name in names}


def _chunks(stream: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    chunk = []
    for item in stream:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
