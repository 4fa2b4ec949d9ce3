"""Pickles give back plain data, and run nothing."""

import collections
import os
import pickle

import numpy as np
import pytest

from avc_jax import errors
from avc_jax.data.items import plain_pickle

PLAIN = [{"id": "a", "n": 3, "x": 0.5, "none": None, "yes": True, "b": b"raw", "t": (1, "zwei"), "s": {1, 2},
          "f32": np.arange(6, dtype=np.float32).reshape(2, 3), "f16": np.ones((2, 2), np.float16), "i": np.arange(3),
          "big": np.arange(3, dtype=">f8"), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "scalar": np.float32(1.5),
          "int": np.int64(7), "empty": np.zeros((0, 4)), "texts": np.array(["a", "bc"]),
          "objects": np.array([{"k": 1}, "two"], object)}, collections.OrderedDict(z=1, a=2)]


def same(one, other) -> bool:
    if isinstance(one, np.ndarray):
        kinds = (one.dtype.newbyteorder("="), other.dtype.newbyteorder("="))
        return type(other) is np.ndarray and kinds[0] == kinds[1] and one.shape == other.shape and (one == other).all()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_come_back_from_every_protocol(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(PLAIN, protocol))
    assert same(PLAIN, plain_pickle.read(tmp_path / "a.pkl"))
    assert np.dtype("f8").isnative  # what a pickle says of a byte order is of its own arrays alone


@pytest.mark.parametrize("old", ["numpy.core", "numpy._core"])
def test_arrays_of_older_and_younger_numpy_come_back(tmp_path, old):
    raw = pickle.dumps({"x": np.arange(4.0)}, 2)
    (tmp_path / "a.pkl").write_bytes(raw.replace(b"numpy._core", old.encode()).replace(b"numpy.core", old.encode()))
    np.testing.assert_array_equal(plain_pickle.read(tmp_path / "a.pkl")["x"], np.arange(4.0))


class Runs:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, exec, print, getattr, __import__, np.load])
def test_a_pickle_that_calls_a_function_is_refused_and_nothing_happens(tmp_path, function):
    made = tmp_path / "made"
    argument = f"mkdir {made}" if function in (os.system, eval, exec) else str(made)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([{"id": Runs(function, argument)}]))
    with pytest.raises(errors.DataError, match=r"a\.pkl is refused: it asks for .*\..*, and only plain containers"):
        plain_pickle.read(tmp_path / "a.pkl")
    assert not made.exists()


def test_objects_of_classes_and_other_codecs_are_refused(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Runs))
    with pytest.raises(errors.DataError, match="is refused"):
        plain_pickle.read(tmp_path / "a.pkl")
    (tmp_path / "b.pkl").write_bytes(b"c_codecs\nencode\n(Vx\nVzip\ntR.")
    with pytest.raises(errors.DataError, match="bytes in the codec zip"):
        plain_pickle.read(tmp_path / "b.pkl")


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2, 3])[:-3], b"\x80\x05\x95" + 7 * b"\xff" + b"\x7f."])
def test_what_is_no_pickle_or_half_of_one_is_said_so(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(errors.DataError, match=r"a\.pkl is damaged, or no pickle"):
        plain_pickle.read(tmp_path / "a.pkl")
