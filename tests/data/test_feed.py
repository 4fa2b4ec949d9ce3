"""The feed: sharded batches in order, ahead of the step, with every end and error handed on."""

import threading
import time

import jax
import numpy as np
import pytest

from avc_jax import errors
from avc_jax.data.feed import Feed, to_devices
from avc_jax.parallel import mesh as meshes


@pytest.fixture(scope="module")
def sharding():
    return meshes.batch_sharding(meshes.make_mesh(4, 2))


def batches(count):
    for number in range(count):
        yield {"x": np.full((8, 2), number, np.float32), "y": np.arange(8, dtype=np.int32)}


def nothing():
    pass


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def test_rows_are_split_over_all_devices_in_order(sharding):
    made = to_devices({"x": np.arange(16).reshape(8, 2)}, sharding)["x"]
    np.testing.assert_array_equal(made, np.arange(16).reshape(8, 2))
    shards = sorted(made.addressable_shards, key=lambda shard: shard.index[0].start)
    assert [shard.data.shape for shard in shards] == [(1, 2)] * 8
    assert len({shard.device for shard in shards}) == 8


def test_batches_come_in_order_and_then_it_ends_for_good(sharding):
    feed = Feed(batches(3), sharding, on_wait=nothing)
    assert [int(batch["x"][0, 0]) for batch in feed] == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(feed)
    feed.close()


def test_arrays_are_jax_arrays_on_the_sharding(sharding):
    feed = Feed(batches(1), sharding, on_wait=nothing)
    batch = next(feed)
    assert all(isinstance(leaf, jax.Array) and leaf.sharding == sharding for leaf in batch.values())
    feed.close()


def test_reading_goes_on_while_the_step_runs_but_only_so_far(sharding):
    read = []

    def counted():
        for number, batch in enumerate(batches(100)):
            read.append(number)
            yield batch

    feed = Feed(counted(), sharding, on_wait=nothing, ahead=2)
    next(feed)
    wait_until(lambda: len(read) == 4)  # one taken, two held ready, one in hand
    time.sleep(0.1)
    assert len(read) == 4
    feed.close()


@pytest.mark.parametrize("error", [errors.DataError("All bad."), KeyboardInterrupt()])
def test_errors_of_reading_are_raised_where_the_batch_is_wanted(sharding, error):
    def broken():
        yield from batches(1)
        raise error

    feed = Feed(broken(), sharding, on_wait=nothing)
    next(feed)
    for _ in range(2):  # also when asked again
        with pytest.raises(type(error)) as caught:
            next(feed)
        assert caught.value is error
    feed.close()


def test_wait_can_be_ended_by_whoever_is_asked_while_waiting(sharding):
    release, calls = threading.Event(), []

    def slow():
        release.wait(20)
        yield from batches(1)

    def on_wait():
        calls.append(1)
        if len(calls) == 3:
            raise errors.Stopped("Enough.")

    feed = Feed(slow(), sharding, on_wait=on_wait)
    with pytest.raises(errors.Stopped):
        next(feed)
    assert feed.waited_s > 0.2
    release.set()
    assert int(next(feed)["x"][0, 0]) == 0  # nothing was lost
    feed.close()


def test_time_without_waiting_is_not_counted(sharding):
    feed = Feed(batches(2), sharding, on_wait=nothing)
    wait_until(lambda: feed._queue.full())
    before = feed.waited_s
    next(feed)
    assert feed.waited_s - before < 0.1
    feed.close()


def test_close_ends_the_thread_in_the_middle_of_endless_batches(sharding):
    feed = Feed(batches(10**9), sharding, on_wait=nothing)
    next(feed)
    feed.close()
    assert not feed._thread.is_alive()
