"""Keras' HDF5 in the layouts of its versions."""

import h5py
import numpy as np
import pytest

from avc_jax import errors
from avc_jax.published import keras, read

KERNEL, BIAS, SCALE = np.arange(12.0, dtype=np.float32).reshape(1, 1, 3, 4), np.ones(4, np.float32), np.full(4, 2, np.float32)


def write(path, layers: dict[str, dict[str, np.ndarray]], *, inside: str = "", as_bytes: bool = True):
    """layer -> name of a weight as the file has it -> array."""
    texts = (lambda names: [name.encode() for name in names]) if as_bytes else list
    with h5py.File(path, "w") as file:
        group = file.create_group(inside) if inside else file
        group.attrs["layer_names"] = texts(layers)
        for layer, weights in layers.items():
            part = group.create_group(layer)
            part.attrs["weight_names"] = texts(weights)
            for name, array in weights.items():
                part.create_dataset(name, data=array)
    return path


def keras_2(path):
    return write(path, {"input_1": {}, "conv2d_8": {"conv2d_8/kernel:0": KERNEL, "conv2d_8/bias:0": BIAS},
                        "batch_normalization_9": {"batch_normalization_9/gamma:0": SCALE},
                        "conv2d_9": {"conv2d_9/kernel:0": KERNEL + 1},
                        "audio_embedding_layer": {"audio_embedding_layer/kernel:0": KERNEL + 2}})


def test_layers_are_numbered_by_their_place_and_not_by_the_session_that_made_them(tmp_path):
    found = read.read(keras_2(tmp_path / "net.h5"))
    assert list(found) == ["conv2d/kernel", "conv2d/bias", "batch_normalization/gamma", "conv2d_1/kernel",
                           "audio_embedding_layer/kernel"]
    np.testing.assert_array_equal(found["conv2d_1/kernel"], KERNEL + 1)


def test_a_saved_model_is_read_like_saved_weights(tmp_path):
    path = write(tmp_path / "model.h5", {"dense": {"dense/kernel": KERNEL[0, 0]}}, inside="model_weights", as_bytes=False)
    np.testing.assert_array_equal(keras.read(path)["dense/kernel"], KERNEL[0, 0])


def test_a_model_within_a_model_keeps_its_name_and_numbers_of_its_own(tmp_path):
    path = write(tmp_path / "net.h5", {
        "vision_model": {"conv2d/kernel": KERNEL, "batch_normalization/gamma": SCALE, "conv2d_1/kernel": KERNEL + 1},
        "audio_model": {"conv2d_2/kernel": KERNEL + 2, "audio_model/conv2d_3/kernel": KERNEL + 3},
        "dense_1": {"dense_1/bias:0": BIAS}})
    found = keras.read(path)
    assert list(found) == ["vision_model/conv2d/kernel", "vision_model/batch_normalization/gamma", "vision_model/conv2d_1/kernel",
                           "audio_model/conv2d/kernel", "audio_model/conv2d_1/kernel", "dense/bias"]
    np.testing.assert_array_equal(found["audio_model/conv2d_1/kernel"], KERNEL + 3)


@pytest.mark.parametrize(("layers", "wanted"), [
    (["conv2d_1", "conv2d_2"], ["conv2d", "conv2d_1"]), (["conv2d", "dense", "conv2d_1"], ["conv2d", "dense", "conv2d_1"]),
    (["embedding_layer"], ["embedding_layer"]), ([], [])])
def test_numbers_are_counted_for_each_kind(layers, wanted):
    assert list(keras.numbered_anew(layers).values()) == wanted


def test_the_layout_without_layer_names_is_refused_with_what_to_do(tmp_path):
    with h5py.File(tmp_path / "net.weights.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", data=KERNEL)
    with pytest.raises(errors.DataError, match=r"no layer names.*Keras 3's own layout.*save the model as \.h5"):
        keras.read(tmp_path / "net.weights.h5")


def test_a_damaged_file_is_refused_in_words(tmp_path):
    path = keras_2(tmp_path / "net.h5")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(errors.DataError, match="cannot be read as HDF5"):
        read.read(path)
