"""The tf.data pipeline: visits decoded in parallel and in order, dispersed into batches."""

import collections
import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from avc_jax.data import visit as visits
from avc_jax.data.plan import Plan

Batch = dict[str, np.ndarray]

# TensorFlow is here for its input pipeline; the accelerators are JAX's.
tf.config.set_visible_devices([], "GPU")


def read_in_parallel(read: Callable[[int], visits.Pairs], count: int, form: visits.Format, *, threads: int,
                     ahead: int) -> Iterator[Batch]:
    """Yields read(0), ..., read(count - 1), in order, as dicts of arrays with a leading axis of pairs.

    Args:
      read: called from several threads at once; PyAV releases the interpreter's lock while it decodes.
      count: how many.
      form: of the pairs.
      threads: reads at once; 0 = one per core.
      ahead: reads finished and held ready.

    Raises:
      whatever `read` raised, itself and not TensorFlow's account of it.
    """
    shapes = visits.fields(form)
    failure: list[BaseException] = []

    def call(position: np.int64) -> list[np.ndarray]:
        try:
            pairs = read(int(position))
            return [getattr(pairs, name) for name in shapes]
        except BaseException as error:
            failure.append(error)
            raise

    def decode(position: tf.Tensor) -> tuple[tf.Tensor, ...]:
        tensors = tf.numpy_function(call, [position], [dtype for _, dtype in shapes.values()], stateful=True)
        for tensor, (shape, _) in zip(tensors, shapes.values(), strict=True):
            tensor.set_shape([None, *shape])
        return tuple(tensors)

    threads = threads or os.cpu_count() or 1
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    dataset = tf.data.Dataset.range(count).with_options(options)
    dataset = dataset.map(decode, num_parallel_calls=threads, deterministic=True).prefetch(max(1, ahead))
    try:
        for values in dataset.as_numpy_iterator():
            yield dict(zip(shapes, values, strict=True))
    except tf.errors.OpError:
        if failure:
            raise failure[0] from None
        raise


def disperse(plan: Plan, arrivals: Iterator[list[Batch]], names: tuple[str, ...]) -> Iterator[Batch]:
    """Deals the pairs of visits out to batches, in the order of `plan.rows`.

    Args:
      plan: the plan.
      arrivals: for one step after the other, the new visits of this host; the first k - 1 fill the window.
      names: fields to keep.
    """
    k = plan.pairs_per_visit
    window: collections.deque[list[Batch]] = collections.deque(maxlen=k)
    for fresh in arrivals:
        window.append(fresh)
        if len(window) == k:
            # Slot by slot, the pair p of the visit that came p steps before the newest: the order of plan.rows.
            rows = [(window[k - 1 - pair][slot], pair) for slot in range(len(fresh)) for pair in range(k)]
            yield {name: np.stack([visit[name][pair] for visit, pair in rows]) for name in names}


def train_batches(reader: visits.Reader, *, first_step: int, host: int = 0, hosts: int = 1, threads: int = 0,
                  ahead: int = 2, names: tuple[str, ...]) -> Iterator[Batch]:
    """This host's rows of the global batches from first_step on, for ever.

    Args:
      reader: of the training split.
      first_step: the step to begin with; resuming at a step needs nothing else.
      host, hosts: which consecutive share of the rows of each global batch to read.
      threads, ahead: see `read_in_parallel`; `ahead` counts batches.
      names: fields to keep.
    """
    plan = reader.plan
    per_host = plan.visits_per_step // hosts

    def read(number: int) -> visits.Pairs:
        step, slot = divmod(number, per_host)
        return reader.train((first_step + step) * plan.visits_per_step + host * per_host + slot)

    stream = read_in_parallel(read, 1 << 62, reader.form, threads=threads, ahead=ahead * per_host)
    return disperse(plan, _chunks(stream, per_host), names)


def _chunks(stream: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    chunk = []
    for item in stream:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
