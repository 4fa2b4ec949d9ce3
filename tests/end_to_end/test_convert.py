"""The command: a published file goes in, and the folder that comes out is a model like any other."""

import dataclasses
import hashlib
import itertools
import json

import numpy as np
import pytest
import tiny
import torchfile
from end_to_end import command, here
from published.test_tables import arrays_of, smaller

from avc_jax import errors, model, systems
from avc_jax.published import make, translate
from avc_jax.published.read import read
from avc_jax.published.table import torch_counters
from avc_jax.systems import base
from avc_jax.systems.l3net import CHECKPOINT_KEYS

KIND = "torchopenl3_mel128"


def published() -> dict[str, np.ndarray]:
    """Random arrays of the PyTorch port's network, with what its front end keeps."""
    rng = np.random.default_rng(0)
    channels, arrays = (1, 64, 64, 128, 128, 256, 256, 512, 512), {}
    for place, (inside, outside) in enumerate(itertools.pairwise(channels), start=1):
        for name, value in {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}.items():
            arrays[f"batch_normalization_{place}.{name}"] = value + np.abs(0.1 * rng.normal(size=inside))
        arrays[f"batch_normalization_{place}.num_batches_tracked"] = np.array(place)
        conv = "audio_embedding_layer" if place == 8 else f"conv2d_{place}"
        arrays[f"{conv}.weight"] = rng.normal(size=(outside, inside, 3, 3)) * np.sqrt(2 / (9 * inside))
        arrays[f"{conv}.bias"] = 0.1 * rng.normal(size=outside)
    arrays["speclayer.mel_basis"] = np.zeros((128, 1025))
    return {name: array.astype(np.float32) if array.ndim else array for name, array in arrays.items()}


@pytest.fixture(scope="module")
def converted(tmp_path_factory, cache):
    """(file, folder, what the command said)."""
    folder = tmp_path_factory.mktemp("converted")
    path = torchfile.write(folder / "weights.pth.tar", published())
    said = command.run(cache, "--system=l3net", f"--source={path}", f"--out={folder / 'model'}", module="avc_jax.convert")
    return path, folder / "model", said


def test_the_folder_says_where_it_comes_from_and_what_it_lacks(converted):
    path, folder, said = converted
    assert f"Converted and read back: {folder}" in said
    about = json.loads((folder / model.DESCRIPTION).read_text())
    assert about["source"] == path.name
    assert about["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert about["source_kind"] == KIND
    assert about["missing_modalities"] == ["video"]
    assert sorted(about["initial"]) == ["batch_stats/audio/block4/norm2/mean", "batch_stats/audio/block4/norm2/var",
                                        "params/audio/block4/norm2/bias", "params/audio/block4/norm2/scale"]
    assert about["config"]["audio"]["front_end"] == "mel128"
    assert "waveform" in about["inputs"]
    assert "frame" not in about["inputs"]


def test_the_model_has_the_published_arrays_and_no_others(converted):
    from flax.traverse_util import flatten_dict

    net, given = model.load(converted[1]), published()
    found = translate.to_theirs(flatten_dict(net.variables, sep="/"), CHECKPOINT_KEYS[KIND])
    for name, array in found.items():
        np.testing.assert_array_equal(array, given[name])
    assert not [name for name in given if name not in found and "num_batches" not in name and "speclayer" not in name]
    assert set(net.variables["params"]) == {"audio"}


def test_it_embeds_sounds_and_refuses_what_it_has_no_half_for(converted):
    net = model.load(converted[1])
    waveform = np.random.default_rng(1).integers(-9000, 9000, (2, 48000)).astype(np.int16)
    embedded = net.embed(waveform=waveform)
    assert {name: value.shape for name, value in embedded.items()} == {"audio": (2, 512)}
    assert np.isfinite(embedded["audio"]).all()
    assert np.abs(embedded["audio"][0] - embedded["audio"][1]).max() > 1e-3
    assert {name: value.shape for name, value in net.system.transfer(net.variables, {"waveform": waveform}).items()} == {
        "audio": (2, 6144)}
    with pytest.raises(errors.ConfigError, match=r"no input is named 'frame'.*The model has no video half"):
        net.embed(frame=np.zeros((1, 224, 224, 3), np.uint8))
    with pytest.raises(errors.ConfigError, match="has no video half: it can be neither trained nor scored"):
        net.system.score(net.variables, {"waveform": waveform})


def test_exporting_it_keeps_what_it_lacks(converted, tmp_path):
    here.call("avc_jax.export", f"--checkpoint={converted[1]}", f"--out={tmp_path / 'out'}")
    again, net = model.load(tmp_path / "out"), model.load(converted[1])
    assert again.missing_modalities == ("video",)
    waveform = np.ones((1, 48000), np.int16)
    np.testing.assert_array_equal(again.embed(waveform=waveform)["audio"], net.embed(waveform=waveform)["audio"])


@pytest.mark.parametrize("name", ["again.pth", "again.safetensors"])
def test_the_published_file_comes_back_bit_by_bit(converted, tmp_path, name):
    said = here.call("avc_jax.convert", f"--checkpoint={converted[1]}", f"--to={KIND}", f"--out={tmp_path / name}")
    assert f"Written and read back: {tmp_path / name}. It is loaded by" in said
    assert "Not in it, as the reader makes them itself (strict=False in PyTorch): speclayer.dft_real_kernels" in said
    given, found = published(), read(tmp_path / name)
    assert set(found) == set(given)
    for key, array in given.items():
        assert (found[key].dtype, found[key].shape, found[key].tobytes()) == (array.dtype, array.shape, array.tobytes()), key


def test_what_was_trained_is_published_with_counters_and_without_the_other_half(tmp_path):
    """A whole network, as a run would hold it: each of its halves is a checkpoint of its own."""
    arrays = arrays_of("l3net", "cnn_L3_melspec2")
    whole, _ = make.make("l3net", CHECKPOINT_KEYS["cnn_L3_melspec2"], arrays)
    whole = dataclasses.replace(whole, step=7)
    found, left_out, _ = make.unmake(whole, CHECKPOINT_KEYS["openl3_audio_mel256"], {})
    assert left_out == ["*spectrogram/*"]
    np.testing.assert_array_equal(found["conv2d_3/kernel"], arrays["audio_model/conv2d_3/kernel"])
    assert set(found) == {entry.theirs for entry in CHECKPOINT_KEYS["openl3_audio_mel256"].entries}
    counted, *_ = make.unmake(whole, CHECKPOINT_KEYS["torchopenl3_mel256"], {})
    np.testing.assert_array_equal(counted["conv2d_4.weight"], arrays["audio_model/conv2d_3/kernel"].transpose(3, 2, 0, 1))
    assert counted["batch_normalization_8.num_batches_tracked"] == 7
    assert "batch_normalization_9.weight" not in counted  # what such a file is cut off before


@pytest.mark.parametrize(("system", "kind"), [("avlnet", "avlnet"), ("spoken_objectnet", "resdavenet_audio")])
def test_published_networks_come_back_with_what_they_never_use(system, kind):
    checkpoint, rng = smaller(system, kind), np.random.default_rng(0)
    given = arrays_of(system, kind) | {name: np.array(rng.integers(9)) for name in torch_counters(checkpoint)}
    made, _ = make.make(system, checkpoint, given)
    found, left_out, habits = make.unmake(made, checkpoint, translate.kept_aside(given, checkpoint))
    assert (set(found), left_out, habits) == (set(given), [], [])
    for name, array in given.items():
        assert (found[name].dtype, found[name].tobytes()) == (array.dtype, array.tobytes()), name
    assert any("batchnorm1" in name for name in found)  # declared and not used
    config = make.config_of(system, checkpoint, given)
    config.system.padding = "floor"  # what is heard after the end of a sound, with the same arrays
    honest = dataclasses.replace(made, config=config, system=base.without(systems.make(config), checkpoint.missing))
    again = make.unmake(honest, checkpoint, {})
    assert again.habits == ["config.system.padding is 'floor', expected 'loudest'."]
    np.testing.assert_array_equal(again.arrays[next(iter(given))], found[next(iter(given))])
    config.audio.mel40_window = "periodic"  # it hears something else
    other = dataclasses.replace(honest, system=base.without(systems.make(config), checkpoint.missing))
    with pytest.raises(errors.ConfigError, match=r"another one:\n  config\.audio\.mel40_window is 'periodic'"):
        make.unmake(other, checkpoint, {})


@pytest.mark.parametrize(("flags", "words"), [
    ({"to": "openl4"}, "--to=openl4: l3net knows no such published checkpoint; it knows openl3_image, openl3_audio_linear"),
    ({"to": "torchopenl3_mel256"}, "config.audio.front_end is 'mel128', expected 'mel256'"),
    ({"to": "cnn_L3_melspec2"}, "the model has no video half, which such a file holds"),
    ({"to": "openl3_image"}, "the model has no video half"), ({"to": ""}, "--to is missing"),
    ({"checkpoint": ""}, "--checkpoint is missing"), ({"out": ""}, "--out is missing: name the file"),
    ({"out": "net.onnx"}, "ends in .safetensors, .npz, .pt"), ({"out": "net.h5"}, "HDF5 is for checkpoints of Keras alone"),
    ({"system": "l3net"}, "--system=l3net is for reading a published file"),
], ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_what_cannot_be_published_is_refused_in_words(converted, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    given = {"checkpoint": str(converted[1]), "to": KIND, "out": "out.pt"} | flags
    assert words in here.call("avc_jax.convert", *(f"--{name}={value}" for name, value in given.items()), expect=64)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_other_sizes_is_no_published_one(tmp_path):
    config = tiny.config(system__variant="openl3", system__conv_bias=True, system__input_norm=True)
    system = systems.make(config)
    small = model.Model(config, system, tiny.variables(system), 3)
    with pytest.raises(errors.ConfigError, match=r"(?s)another one:.*system\.width is 0\.0625, expected 1\.0\..*arrays, such as"):
        make.unmake(small, CHECKPOINT_KEYS["openl3_image"], {})


@pytest.mark.parametrize(("flags", "code", "words"), [
    ({"system": ""}, 64, "--system is missing"), ({"source": ""}, 64, "--source is missing"),
    ({"out": ""}, 64, "--out is missing"), ({"system": "l3nett"}, 64, "Did you mean l3net?"),
    ({"source": "nowhere.h5"}, 66, "nowhere.h5: there is no such file"),
    ({"kind": "openl3"}, 64, "openl3_audio_mel256"), ({"kind": "openl3_image"}, 64, "is no openl3_image"),
], ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_a_wrong_flag_is_refused_in_words(converted, tmp_path, flags, code, words):
    given = {"system": "l3net", "source": str(converted[0]), "out": str(tmp_path / "out")} | flags
    assert words in here.call("avc_jax.convert", *(f"--{name}={value}" for name, value in given.items()), expect=code)
    assert not (tmp_path / "out").exists()


def test_arrays_that_do_not_fit_are_named_and_nothing_is_written(tmp_path):
    arrays = published()
    arrays["conv2d_3.wieght"] = arrays.pop("conv2d_3.weight")
    arrays["conv2d_5.weight"] = arrays["conv2d_5.weight"][:, :, 0]
    path = torchfile.write(tmp_path / "torchopenl3_mel128.pth", arrays)
    said = here.call("avc_jax.convert", "--system=l3net", f"--source={path}", f"--out={tmp_path / 'out'}", expect=64)
    for words in ("is no torchopenl3_mel128: 3 of the arrays do not fit",
                  "missing: conv2d_3.weight. Did you mean conv2d_3.wieght?",
                  "extra: conv2d_3.wieght, float32[128, 64, 3, 3]",
                  "misshapen: conv2d_5.weight is float32[256, 128, 3], expected [256, 128, 3, 3] (our params/audio/block3/"):
        assert words in said
    assert not (tmp_path / "out").exists()
