"""What is in a file decides how it is read."""

import zipfile

import numpy as np
import pytest
import torchfile

from avc_jax import errors
from avc_jax.published.read import read

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones((), np.float32)}


def test_npz_is_read(tmp_path):
    np.savez(tmp_path / "net.npz", **ARRAYS)
    found = read(tmp_path / "net.npz")
    for name, wanted in ARRAYS.items():
        np.testing.assert_array_equal(found[name], wanted)


def test_an_npz_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "net.npz", a=np.array([{"any": "object"}], object))
    with pytest.raises(errors.DataError, match=r"cannot be read as \.npz"):
        read(tmp_path / "net.npz")


def test_safetensors_are_read(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(ARRAYS, tmp_path / "net.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "net.safetensors")["a.weight"], ARRAYS["a.weight"])
    (tmp_path / "net.safetensors").write_bytes(b"no safetensors at all")
    with pytest.raises(errors.DataError, match="cannot be read as safetensors"):
        read(tmp_path / "net.safetensors")


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_names_lose_what_data_parallel_puts_before_all_of_them(tmp_path, form):
    numpy = pytest.importorskip("safetensors.numpy")
    save = {"npz": lambda path, arrays: np.savez(path, **arrays),
            "safetensors": lambda path, arrays: numpy.save_file(arrays, path)}
    save[form](tmp_path / f"all.{form}", {f"module.{name}": value for name, value in ARRAYS.items()})
    assert set(read(tmp_path / f"all.{form}")) == set(ARRAYS)
    save[form](tmp_path / f"some.{form}", ARRAYS | {"module.c": np.ones(1, np.float32)})
    assert set(read(tmp_path / f"some.{form}")) == {*ARRAYS, "module.c"}


def test_a_file_that_is_not_there_is_missing_input(tmp_path):
    with pytest.raises(errors.MissingInputError, match=r"net\.h5: there is no such file"):
        read(tmp_path / "net.h5")
    with pytest.raises(errors.MissingInputError):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"a text", b"\x80\x04K\x01."], ids=["empty", "text", "pickle"])
def test_a_file_of_another_format_is_refused_with_those_that_are_read(tmp_path, content):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(errors.DataError, match=r"expected HDF5 of Keras.*\.npz"):
        read(tmp_path / "net.pth")


def test_a_file_of_pytorch_before_1_6_is_read_and_a_part_of_one_is_refused(tmp_path):
    path = torchfile.write_before_1_6(tmp_path / "net.pth", ARRAYS)
    np.testing.assert_array_equal(read(path)["a.weight"], ARRAYS["a.weight"])
    whole = path.read_bytes()
    for size in range(30, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(errors.DataError, match=r"net\.pth (is damaged|cannot be read as a PyTorch checkpoint)"):
            read(path)


def test_another_zip_archive_is_refused_with_what_it_holds(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(errors.DataError, match=r"holds readme\.txt"):
        read(tmp_path / "net.zip")
