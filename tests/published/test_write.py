"""Files that others read: each format gives back what was put in, and the libraries that it is made for read it."""

import os
import pickletools
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torchfile

from avc_jax import errors
from avc_jax.published import keras, pytorch, write
from avc_jax.published.read import read

RNG = np.random.default_rng(0)
FORMATS = ("net.safetensors", "net.npz", "net.pt", "net.pth", "net.pth.tar", "net.bin", "net.h5")


def of_layers() -> dict[str, np.ndarray]:
    """Weights of Keras' layers, one of them within a model, in the layout of memory that a transposition leaves."""
    return {"conv2d/kernel": RNG.normal(size=(4, 2, 3, 3)).astype(np.float32).transpose(2, 3, 1, 0),
            "conv2d/bias": np.array([np.nan, -0.0, np.inf, 1e-42], np.float32), "tower/dense/kernel": np.ones((4, 2), np.float32),
            "tower/batch_normalization/gamma": np.ones(2, np.float32),
            "tower/batch_normalization/moving_mean": np.zeros(2, np.float32), "dense/kernel": np.ones((2, 2), np.float32)}


def of_torch() -> dict[str, np.ndarray]:
    return {"conv.weight": RNG.normal(size=(4, 1, 1, 9)).astype(np.float32), "norm.num_batches_tracked": np.array(7, np.int64),
            "turned": RNG.normal(size=(3, 5)).astype(np.float32).T, "empty": np.zeros((0, 3), np.float32),
            "half": np.ones(3, np.float16), "flags": np.array([True, False]), "bytes": np.arange(5, dtype=np.uint8)}


def same(found, wanted) -> bool:
    return list(map(str, sorted(found))) == sorted(wanted) and all(
        (found[name].dtype, found[name].shape, found[name].tobytes()) == (array.dtype, array.shape, array.tobytes())
        for name, array in wanted.items())


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_back_the_bits_that_were_put_in(tmp_path, name):
    wanted = of_layers() if name.endswith(".h5") else of_torch() | of_layers()
    write.write(tmp_path / "deep" / name, wanted)
    assert same(read(tmp_path / "deep" / name), wanted)
    assert os.listdir(tmp_path / "deep") == [name]
    assert str(tmp_path / "deep" / name) in write.how_to_load(tmp_path / "deep" / name)


def test_an_earlier_file_is_replaced_and_stays_where_the_new_one_fails(tmp_path, monkeypatch):
    path = tmp_path / "net.pt"
    write.write(path, {"a": np.zeros(3)})
    write.write(path, {"b": np.ones(3)})
    assert list(read(path)) == ["b"]
    monkeypatch.setattr(write, "read", lambda path: {"b": np.full(3, 2.0)})
    with pytest.raises(errors.CannotWriteError, match=r"reads back differently: a, b\."):
        write.write(path, {"a": np.ones(3), "b": np.ones(3)})
    assert list(read(path)) == ["b"] and os.listdir(tmp_path) == ["net.pt"]


@pytest.mark.parametrize(("name", "error", "words"), [
    ("net", errors.ConfigError, r"ends in \.safetensors, \.npz, \.pt"), ("net.onnx", errors.ConfigError, "ends in"),
    ("folder.pt", errors.ConfigError, "expected the name of a file"),
    ("file/net.pt", errors.CannotWriteError, "cannot be written"),
    ("net.h5", errors.ConfigError, r"conv\.weight is no weight of a layer of Keras")])
def test_a_name_that_cannot_be_written_is_refused(tmp_path, name, error, words):
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(error, match=words):
        write.write(tmp_path / name, {"conv.weight": np.ones(3, np.float32)})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.pt"]


def test_numbers_that_pytorch_does_not_have_are_refused(tmp_path):
    with pytest.raises(errors.ConfigError, match="no numbers of type complex64"):
        write.write(tmp_path / "net.pt", {"a": np.ones(3, np.complex64)})


# PyTorch -----------------------------------------------------------------------------------------------------------------------


def test_a_file_of_pytorch_is_the_same_whenever_it_is_written_and_its_storages_are_aligned(tmp_path):
    arrays = of_torch()
    for name in ("a.pt", "b.pt"):
        pytorch.write(tmp_path / name, arrays)
    content = (tmp_path / "a.pt").read_bytes()
    assert content == (tmp_path / "b.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None
        assert archive.read("archive/version") == b"3\n" and archive.read("archive/byteorder") == b"little"
        pickletools.dis(archive.read("archive/data.pkl"), out=open(os.devnull, "w"))  # noqa: SIM115
        for key, array in enumerate(arrays.values()):
            about = archive.getinfo(f"archive/data/{key}")
            start = about.header_offset + 30 + len(about.filename) + len(about.extra)
            assert about.compress_type == zipfile.ZIP_STORED and start % 64 == 0
            assert content[start:start + array.nbytes] == array.tobytes()


def test_numbers_of_half_the_bits_come_back(tmp_path):
    wanted = torchfile.bfloat16([1.5, -2, 0])
    pytorch.write(tmp_path / "net.pt", {"w": wanted})
    found = pytorch.read(tmp_path / "net.pt")["w"]
    assert found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("mmap", [False, True])
def test_pytorch_itself_reads_it_and_is_asked_to_run_nothing(tmp_path, mmap):
    torch = pytest.importorskip("torch")
    arrays = of_torch()
    pytorch.write(tmp_path / "net.pt", arrays)
    found = torch.load(tmp_path / "net.pt", weights_only=True, mmap=mmap)
    assert list(found) == list(arrays)
    assert same({name: tensor.numpy() for name, tensor in found.items()}, arrays)


# Keras -------------------------------------------------------------------------------------------------------------------------

LOAD = """
import keras, numpy as np, sys
from keras import layers
inside = [layers.Conv2D(3, 3), layers.BatchNormalization(), layers.Conv2D(5, 2)]
tower = keras.Sequential([keras.Input((4, 4, 2)), *inside], name="tower")
model = keras.Sequential([keras.Input((4, 4, 2)), layers.BatchNormalization(), tower, layers.Dense(7, name="last")])
model.load_weights(sys.argv[1])
np.savez(sys.argv[2], **{weight.path: np.asarray(weight.value) for weight in model.weights})
"""


@pytest.mark.slow
def test_keras_itself_reads_it(tmp_path):
    pytest.importorskip("keras")
    shapes = {"batch_normalization": {"gamma": 2, "beta": 2, "moving_mean": 2, "moving_variance": 2},
              "tower/conv2d": {"kernel": (3, 3, 2, 3), "bias": 3},
              "tower/batch_normalization": {"gamma": 3, "beta": 3, "moving_mean": 3, "moving_variance": 3},
              "tower/conv2d_1": {"kernel": (2, 2, 3, 5), "bias": 5}, "last": {"kernel": (5, 7), "bias": 7}}
    arrays = {f"{layer}/{name}": RNG.normal(size=shape).astype(np.float32)
              for layer, names in shapes.items() for name, shape in names.items()}
    keras.write(tmp_path / "net.h5", arrays)
    subprocess.run([sys.executable, "-c", LOAD, tmp_path / "net.h5", tmp_path / "found.npz"], check=True,
                   env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"})
    with np.load(tmp_path / "found.npz") as found:
        assert len(found) == len(arrays)
        read = {name: found[name] for name in found}
    for name, wanted in arrays.items():
        assert any(np.array_equal(wanted, array) for array in read.values()), name
    last = next(array for name, array in read.items() if name.endswith("last/kernel"))
    np.testing.assert_array_equal(last, arrays["last/kernel"])
