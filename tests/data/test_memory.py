"""Memory that is used again belongs to one array at a time."""

import concurrent.futures
import gc

import jax
import numpy as np
import pytest

from avc_jax.data import memory, pipeline

LARGE = (3, 1 << 19)  # bytes: more than what is left to malloc


def address(array):
    return array.ctypes.data


@pytest.mark.parametrize("shape", [(), (0, 4), (5,), (2, 3, 4), LARGE])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_arrays_are_writable_and_where_tensorflow_takes_them_over(shape, dtype):
    array = memory.empty(shape, dtype)
    array[...] = 7
    assert (array.shape, array.dtype) == (shape, dtype)
    assert not array.size or address(array) % 64 == 0
    assert (array == 7).all()


def test_memory_is_used_again_once_the_last_view_is_gone():
    array = memory.empty(LARGE, np.uint8)
    view, place = array[1:, 5:], address(array)
    del array
    assert address(memory.empty(LARGE, np.uint8)) != place, "a view of it is alive"
    del view
    gc.collect()
    assert address(memory.empty(LARGE[::-1], np.int8)) == place


def test_arrays_that_are_alive_never_share_memory():
    rng, held = np.random.default_rng(0), {}
    for number in range(400):
        held[number] = memory.empty(LARGE, np.uint8)
        held[number][...] = number % 251
        for _ in range(rng.integers(0, 3) if len(held) > 1 else 0):
            mark = rng.choice(list(held))
            assert (held[mark] == mark % 251).all()
            del held[mark]
            if not held:
                break
    assert all((array == mark % 251).all() for mark, array in held.items())


def test_threads_do_not_get_the_same_memory():
    def work(mark):
        for _ in range(200):
            array = memory.empty(LARGE, np.uint8)
            array[:, ::4096] = mark
            if not (array[:, ::4096] == mark).all():
                return False
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_what_came_through_the_pipeline_or_went_to_a_device_keeps_its_values():
    def read(number):
        rows = memory.empty(LARGE, np.uint8)
        rows[...] = number
        return {"x": rows}

    shapes = {"x": ((LARGE[1],), np.uint8)}
    stream = pipeline.read_in_parallel(read, 24, shapes, threads=2, ahead=2)
    batches = [jax.device_put(batch["x"]) if number % 2 else batch["x"] for number, batch in enumerate(stream)]
    for number, batch in enumerate(batches):
        assert (np.asarray(batch) == number).all()


def test_no_more_is_kept_than_a_pipeline_needs():
    held = [memory.empty(LARGE, np.uint8) for _ in range(20)]
    del held
    gc.collect()
    assert len(memory._kept[LARGE[0] * LARGE[1]]) == memory._MOST_KEPT
