"""The tf.data pipeline: visits read in parallel and in order, and put together into batches."""

import collections
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from avc_jax.data import processes
from avc_jax.data import visit as visits
from avc_jax.data.moments import Cut, Format, make_cut
from avc_jax.data.plan import Plan

Batch = dict[str, np.ndarray]

LEAD = 4  # Visits of files that each thread may be ahead, because a film takes as long as several clips.
_MOST_ROWS = 256  # Rows of stored frames that one thread reads and decodes at a time.

# TensorFlow is here for its input pipeline; the accelerators are JAX's.
tf.config.set_visible_devices([], "GPU")


def read_in_parallel(read: Callable[[int], visits.Pairs], count: int, form: Format, *, threads: int, ahead: int,
                     stored_side: int = 0) -> Iterator[Batch]:
    """Yields read(0), ..., read(count - 1), in order, as dicts of arrays with a leading axis of pairs.

    Args:
      read: called from several threads at once.
      count: how many.
      form: of the pairs.
      threads: reads at once; 0 = one per core.
      ahead: reads finished and held ready.
      stored_side: the source's, see `sources.Source`; if not 0, frames are decoded here.

    Raises:
      whatever `read` raised, itself and not TensorFlow's account of it.
    """
    shapes = visits.fields(form)
    failure: list[BaseException] = []

    def call(position: np.int64) -> list[np.ndarray]:
        try:
            pairs = read(int(position))
            return [pairs.frame, pairs.window, *(getattr(pairs, name) for name in shapes if name != "frame")]
        except BaseException as error:
            failure.append(error)
            raise

    def decode(position: tf.Tensor) -> tuple[tf.Tensor, ...]:
        types = [tf.string if stored_side else tf.uint8, tf.int32, *(dtype for _, dtype in shapes.values())]
        frame, window, *tensors = tf.numpy_function(call, [position], [*types[:2], *types[3:]], stateful=True)
        if stored_side:
            frame = _decode_jpegs(frame, window, form, make_cut(stored_side, form))
        for tensor, (shape, _) in zip([frame, *tensors], shapes.values(), strict=True):
            tensor.set_shape([None, *shape])
        return (frame, *tensors)

    threads = threads or processes.count_cores()
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    dataset = tf.data.Dataset.range(count).with_options(options)
    # More calls than threads: what waits for its turn behind a slow one must not hold a thread.
    dataset = dataset.map(decode, num_parallel_calls=threads + max(1, ahead), deterministic=True).prefetch(1)
    try:
        for values in dataset.as_numpy_iterator():
            yield dict(zip(shapes, values, strict=True))
    except tf.errors.OpError:
        if failure:
            raise failure[0] from None
        raise


def _decode_jpegs(jpegs: tf.Tensor, windows: tf.Tensor, form: Format, cut: Cut) -> tf.Tensor:
    """uint8[r, size, size, 3] of string[r] and int32[r, 4]; one after the other, as several reads run at once."""
    def decode(inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return tf.io.decode_and_crop_jpeg(*inputs, channels=3, ratio=cut.ratio)

    frames = tf.map_fn(decode, (jpegs, tf.ensure_shape(windows, [None, 4])), parallel_iterations=1,
                       fn_output_signature=tf.TensorSpec((cut.side, cut.side, 3), tf.uint8))
    if cut.side == form.size:
        return frames
    scaled = tf.image.resize(frames, (form.size, form.size), antialias=True)
    return tf.saturate_cast(tf.round(scaled), tf.uint8)


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
    if reader.source.stored_side:
        yield from _stored_batches(reader, first_step, host, plan.batch_size // hosts, threads, ahead, names)
        return

    def read(number: int) -> visits.Pairs:
        step, slot = divmod(number, per_host)
        return reader.train((first_step + step) * plan.visits_per_step + host * per_host + slot)

    threads = threads or processes.count_cores()
    stream = read_in_parallel(read, 1 << 62, reader.form, threads=threads, ahead=max(ahead * per_host, LEAD * threads))
    yield from disperse(plan, _chunks(stream, per_host), names)


def _stored_batches(reader: visits.Reader, first_step: int, host: int, rows: int, threads: int, ahead: int,
                    names: tuple[str, ...]) -> Iterator[Batch]:
    """As `train_batches`; `rows` of each global batch are this host's."""
    size = next(size for size in range(min(rows, _MOST_ROWS), 0, -1) if rows % size == 0)
    pieces = rows // size

    def read(number: int) -> visits.Pairs:
        step, piece = divmod(number, pieces)
        begin = host * rows + piece * size
        return reader.train(*(column[begin : begin + size] for column in reader.plan.rows(first_step + step)))

    stream = read_in_parallel(read, 1 << 62, reader.form, threads=threads, ahead=ahead * pieces,
                              stored_side=reader.source.stored_side)
    for parts in _chunks(stream, pieces):
        yield {name: parts[0][name] if pieces == 1 else np.concatenate([part[name] for part in parts]) for name in names}


def _chunks(stream: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    chunk = []
    for item in stream:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
