"""The tables of every system, and what is said of arrays that do not fit one."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from avc_jax import errors, systems
from avc_jax.published import make, translate
from avc_jax.published.table import Checkpoint, Entry
from avc_jax.systems import base

KINDS = [(system, kind) for system in systems.names() for kind in make.kinds_of(system)]


# A table does not know sizes: it is tried with networks that need less memory than the published ones.
SMALLER = {"avlnet": {"system.trunk_width": 1 / 16, "system.embedding": 16, "system.video_width": 12},
           "spoken_objectnet": {"system.audio_width": 1 / 16, "system.image_width": 1 / 16}}


def smaller(system: str, kind: str) -> Checkpoint:
    """A kind of checkpoint for a network that needs little memory."""
    checkpoint = make.kinds_of(system)[kind]
    return dataclasses.replace(checkpoint, config={**checkpoint.config, **SMALLER.get(system, {})})


@functools.cache
def shapes_of(system: str, kind: str):
    """Our path -> shape, of a network such as a kind of checkpoint is for."""
    checkpoint = smaller(system, kind)
    made = systems.make(make.config_of(system, checkpoint))
    return flatten_dict(base.shapes_of(base.without(made, checkpoint.missing)), sep="/")


def arrays_of(system: str, kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Random arrays under their published names."""
    rng = np.random.default_rng(seed)
    ours = {path: rng.random(leaf.shape, np.float32) for path, leaf in shapes_of(system, kind).items()}
    return translate.to_theirs(ours, make.kinds_of(system)[kind])


@pytest.mark.parametrize(("system", "kind"), KINDS)
def test_a_table_has_every_variable_once_but_those_that_stay_initial(system, kind):
    checkpoint, shapes = make.kinds_of(system)[kind], shapes_of(system, kind)
    ours, theirs = [[getattr(entry, side) for entry in checkpoint.entries] for side in ("ours", "theirs")]
    initial = translate.initial_paths(checkpoint, shapes)
    assert sorted(ours + initial) == sorted(shapes)
    assert len(set(theirs)) == len(theirs)


@pytest.mark.parametrize(("system", "kind"), KINDS)
def test_variables_come_back_from_their_published_form(system, kind):
    checkpoint, shapes = make.kinds_of(system)[kind], shapes_of(system, kind)
    theirs = arrays_of(system, kind)
    initial = {path: np.zeros(shapes[path].shape, np.float32) for path in translate.initial_paths(checkpoint, shapes)}
    ours = translate.to_ours(theirs, checkpoint, shapes, initial)
    assert {path: array.shape for path, array in ours.items()} == {path: leaf.shape for path, leaf in shapes.items()}
    again = translate.to_theirs(ours, checkpoint)
    for name, wanted in theirs.items():
        np.testing.assert_array_equal(again[name], wanted)


@pytest.mark.parametrize("kind", ["openl3_audio_mel256", "openl3_image", "torchopenl3_linear", "torchopenl3_mel128",
                                  "cnn_L3_orig"])
def test_the_names_of_a_kind_tell_it_from_others_as_far_as_they_can(kind, tmp_path):
    kinds, arrays = make.kinds_of("l3net"), arrays_of("l3net", kind)
    if kind.startswith("torch"):
        fft, mels = {"linear": (512, 0), "mel128": (2048, 128)}[kind.removeprefix("torchopenl3_")]
        arrays["speclayer.dft_real_kernels"] = np.zeros((fft // 2 + 1, 1, fft), np.float32)
        arrays |= {"speclayer.mel_basis": np.zeros((mels, fft // 2 + 1), np.float32)} if mels else {}
        arrays["batch_normalization_1.num_batches_tracked"] = np.array(3)
    assert make.choose(kinds, arrays, tmp_path / f"{kind}_music.h5") == kind
    if kind == "openl3_audio_mel256":  # three front ends, one set of names
        with pytest.raises(errors.ConfigError, match=r"may be openl3_audio_linear or .*mel128 or .*mel256.*--kind="):
            make.choose(kinds, arrays, tmp_path / "weights.h5")
    elif kind != "cnn_L3_orig":
        assert make.choose(kinds, arrays, tmp_path / "weights") == kind


@pytest.mark.parametrize(("system", "kind"), [
    ("avlnet", "avlnet"), ("avlnet", "avlnet_text_tri"), ("avlnet", "avlnet_text_fused"), ("spoken_objectnet", "resdavenet"),
    ("spoken_objectnet", "resdavenet_audio"), ("spoken_objectnet", "davenet_image_resnet18")])
def test_the_names_of_a_network_tell_which_it_is_whatever_the_file_is_called(system, kind, tmp_path):
    assert make.choose(make.kinds_of(system), arrays_of(system, kind), tmp_path / "e7.pth") == kind


@pytest.mark.parametrize("kind", ["avlnet", "avlnet_text_tri", "avlnet_text_fused"])
def test_networks_of_any_size_are_read_and_are_of_their_kind(kind):
    checkpoint = make.kinds_of("avlnet")[kind]
    narrow = dataclasses.replace(checkpoint, config={**checkpoint.config, "system.trunk_width": 1 / 16})
    found, _ = make.make("avlnet", narrow, arrays_of("avlnet", kind))
    assert (found.config.system.embedding, found.config.system.video_width) == (16, 12)
    assert found.variables["params"]["video"]["linear"]["kernel"].shape == (12, 16)


def test_the_two_halves_of_a_system_make_the_whole():
    kinds = make.kinds_of("spoken_objectnet")
    whole, sound, picture = ({entry.ours for entry in kinds[name].entries}
                             for name in ("resdavenet", "resdavenet_audio", "resdavenet_image"))
    assert whole == sound | picture
    assert not sound & picture


@pytest.mark.parametrize(("axes", "theirs", "ours"), [
    ((3, 1, 0), (5, 4, 1, 9), (9, 4, 5)), ((3, 2, 0), (5, 1, 40, 1), (1, 40, 5)), ((2, 3, 1, 0), (5, 4, 2, 3), (2, 3, 4, 5)),
    ((1, 0), (5, 4), (4, 5))])
def test_axes_of_length_one_that_we_do_without_come_back(axes, theirs, ours):
    entry, array = Entry("a", "b", axes), np.random.default_rng(0).normal(size=theirs)
    assert entry.to_ours(array).shape == ours
    np.testing.assert_array_equal(entry.to_theirs(entry.to_ours(array)), array)
    assert entry.fits(theirs, ours)
    assert not entry.fits((*theirs[:-1], theirs[-1] + 1), ours)
    assert not entry.fits(theirs[:-1], ours)


def test_the_weights_of_imagenet_are_told_from_networks_with_an_embedder(tmp_path):
    kinds = make.kinds_of("spoken_objectnet")
    for kind in ("imagenet_resnet18", "davenet_image_resnet18"):
        arrays = arrays_of("spoken_objectnet", kind)
        if kind.startswith("imagenet"):
            arrays |= {"fc.weight": np.zeros((1000, 512), np.float32), "fc.bias": np.zeros(1000, np.float32)}
        assert make.choose(kinds, arrays, tmp_path / "weights.pth") == kind


# What does not fit -----------------------------------------------------------------------------------------------------------

SMALL = Checkpoint({}, (Entry("conv.weight", "params/conv/kernel", (2, 3, 1, 0)), Entry("conv.bias", "params/conv/bias"),
                        Entry("fc.weight", "params/fc/kernel", (1, 0))), beside={"*.count": (), "constant": (3,), "any/*": None})
SHAPES = {path: jax.ShapeDtypeStruct(shape, "float32") for path, shape in (
    ("params/conv/kernel", (3, 3, 2, 5)), ("params/conv/bias", (5,)), ("params/fc/kernel", (5, 7)))}


def fitting(**changes) -> dict[str, np.ndarray]:
    arrays = {"conv.weight": np.zeros((5, 2, 3, 3), np.float32), "conv.bias": np.zeros(5, np.float32),
              "fc.weight": np.zeros((7, 5), np.float16), "bn.count": np.array(1), "constant": np.zeros(3),
              "any/thing": np.zeros(9)}
    return {name: array for name, array in (arrays | changes).items() if array is not None}


def refusal(arrays) -> list[str]:
    with pytest.raises(errors.ConfigError) as caught:
        translate.to_ours(arrays, SMALL, SHAPES, {})
    return str(caught.value).splitlines()


def test_arrays_that_fit_are_turned_to_our_layout_and_precision():
    rng = np.random.default_rng(0)
    theirs = {name: rng.normal(size=array.shape).astype(array.dtype) for name, array in fitting().items()}
    ours = translate.to_ours(theirs, SMALL, SHAPES, {})
    assert ours["params/conv/kernel"][2, 1, 0, 4] == theirs["conv.weight"][4, 0, 2, 1]
    np.testing.assert_array_equal(ours["params/fc/kernel"], theirs["fc.weight"].T.astype(np.float32))
    assert {array.dtype for array in ours.values()} == {np.dtype("float32")}


def test_everything_that_does_not_fit_is_named_at_once():
    first, *lines = refusal(fitting(**{"conv.bias": None, "conv.biases": np.zeros(5), "fc.weight": np.zeros((5, 7)),
                                       "constant": np.zeros(4), "other": np.zeros(2, np.int64)}))
    assert first == "5 of the arrays do not fit:"
    assert [line.strip() for line in lines] == [
        "missing: conv.bias. Did you mean conv.biases?",
        "misshapen: constant is float64[4], expected [3].",
        "extra: conv.biases, float64[5]. Did you mean conv.bias?",
        "extra: other, int64[2].",
        "misshapen: fc.weight is float64[5, 7], expected [7, 5] (our params/fc/kernel)."]


@pytest.mark.parametrize(("array", "words"), [
    (np.zeros((5, 2, 3), np.float32), "misshapen: conv.weight is float32[5, 2, 3], expected [5, 2, 3, 3] (our params/conv/kerne"),
    (np.zeros((3, 3, 2, 5), np.float32), "misshapen: conv.weight is float32[3, 3, 2, 5], expected [5, 2, 3, 3]"),
    (np.zeros((5, 2, 3, 3), np.int8), "not of numbers: conv.weight is int8[5, 2, 3, 3], expected float32."),
])
def test_an_array_of_another_shape_or_type_is_named(array, words):
    assert words in refusal(fitting(**{"conv.weight": array}))[1]
