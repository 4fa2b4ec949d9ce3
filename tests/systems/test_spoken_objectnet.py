"""Spoken ObjectNet: the sizes of the paper, closed forms of its similarities, and what each key of its config does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from avc_jax import config as configs
from avc_jax import errors, systems
from avc_jax.nn import matchmap, resnet
from avc_jax.parallel import mesh as meshes
from avc_jax.systems import base, spoken_objectnet

SMALL = {"system__audio_width": 1 / 16, "system__image_width": 1 / 8, "system__image_depth": 18, "data__window_s": 0.96,
         "data__frame_size": 48, "data__frame_short_side": 56, "data__sound": "spectrogram", "data__source": "features"}
ROWS = 8


def made(**changes) -> base.System:
    """The system of the default config with keys changed, as `system__similarity="misa"`."""
    return systems.make(tiny.changed(configs.default("spoken_objectnet"), changes))


@pytest.fixture(scope="module", autouse=True)
def shallow():
    """What sees in the small network is a ResNet of one block; no test here asks for the real ResNet-18."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.DEPTHS, 18, ((1, 0, 0, 0), 1))
        yield


def small(**changes) -> base.System:
    """As `made`, with little of everything: what hears has two blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spoken_objectnet, "WIDTHS", (128, 256, 512))
        patch.setattr(spoken_objectnet, "DEPTHS", (1, 1))
        return made(**SMALL | changes)


@functools.cache
def batch(rows: int = ROWS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    frames = rng.integers(20, 97, rows).astype(np.int32)
    level = rng.uniform(-80, 0, (rows, 40, 96)) * (np.arange(96) < frames[:, None, None])
    return {"spectrogram": level.astype(np.float16), "spectrogram_length": frames,
            "image": rng.integers(0, 256, (rows, 48, 48, 3)).astype(np.uint8)}


@functools.cache
def variables():
    """Variables of the small network, with running statistics of a batch."""
    system = small()
    started = jax.jit(system.init)(jax.random.key(0), batch())
    _, new, _ = jax.jit(system.loss)(started, batch(), jax.random.key(0))
    return {**started, **jax.device_get(new)}


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# Sizes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "sound", "picture"), [
    ({}, 46_490_882, 25_606_208), (dict(system__audio_network="davenet", system__image_depth=16), 15_965_570, 19_434_304),
    (dict(system__image_depth=34), 46_490_882, 21_284_672 + 525_312)])
def test_parameters_are_as_many_as_in_the_papers(changes, sound, picture):
    params = base.shapes_of(made(**changes))["params"]
    assert count(params["audio"]) == sound
    assert count(params["video"]) == picture


def test_parts_that_are_frozen_have_names_of_their_own():
    params = base.shapes_of(made())["params"]
    assert count(params["video"]["trunk"]) == 23_508_032
    assert count(params["video"]["embedder"]) == 2_098_176


def test_maps_have_the_shapes_of_the_paper():
    system = made()
    features = {name: (feature.shape, feature.dtype) for name, feature in system.features.items()}
    assert features == {"image": ((224, 224, 3), "uint8"), "waveform": ((327680,), "int16"), "waveform_length": ((), "int32")}
    inputs = {name: jax.ShapeDtypeStruct((2, *shape), dtype) for name, (shape, dtype) in features.items()}
    shapes = jax.eval_shape(system.maps, base.shapes_of(system), inputs)
    assert {name: leaf.shape for name, leaf in shapes.items()} == {"video": (2, 7, 7, 1024), "audio": (2, 1, 128, 1024)}
    assert system.cells == {"video": (32, 32), "audio": (40, 16)}


# Similarities -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "wanted"), [("sisa", 0.0), ("misa", 1.5), ("sima", 0.5)])
def test_similarities_have_the_closed_forms_of_the_specification(kind, wanted):
    picture, sound = jnp.array([[[[1.0], [-1.0]]]]), jnp.array([[[2.0], [1.0]]])
    assert float(matchmap.similarity(kind, picture, sound, jnp.array([2]))[0, 0]) == pytest.approx(wanted)


def test_the_largest_is_at_least_the_mean_and_padding_is_not_seen():
    rng = np.random.default_rng(1)
    pictures, sounds = rng.normal(size=(3, 4, 4, 6)).astype(np.float32), rng.normal(size=(5, 7, 6)).astype(np.float32)
    number = np.array([7, 3, 1, 5, 2])
    found = {kind: np.asarray(matchmap.similarity(kind, pictures, sounds, number)) for kind in matchmap.KINDS}
    assert (found["misa"] >= found["sisa"] - 1e-5).all()
    assert (found["sima"] >= found["sisa"] - 1e-5).all()
    noisy = np.where((np.arange(7) < number[:, None])[..., None], sounds, 100)
    for kind in matchmap.KINDS:
        np.testing.assert_array_equal(matchmap.similarity(kind, pictures, noisy, number), found[kind])


@pytest.mark.parametrize("kind", ["misa", "sima"])
def test_a_comparison_of_maps_is_offered_where_vectors_do_not_say_it(kind):
    assert small().compare is None
    assert small(system__similarity="sisa").compare is None
    system = small(system__similarity=kind)
    found = jax.jit(system.compare.sides)(variables(), batch())
    scores = jax.jit(system.compare.score)({"video": found["video"][:3], "audio": jax.tree.map(lambda x: x[:5], found["audio"])})
    maps = jax.jit(system.maps)(variables(), batch())
    counted = np.maximum(1, batch()["spectrogram_length"][:5] // 4)
    wanted = matchmap.similarity(kind, maps["video"][:3], maps["audio"][:5, 0], counted)
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-4)


def test_the_pooled_similarity_is_the_product_of_the_embeddings_and_of_each_place():
    system = small()
    found, maps = jax.jit(system.embed)(variables(), batch()), jax.jit(system.maps)(variables(), batch())
    scores = matchmap.similarity("sisa", maps["video"], maps["audio"][:, 0], np.maximum(1, batch()["spectrogram_length"] // 4))
    np.testing.assert_allclose(found["video"] @ found["audio"].T, scores, rtol=1e-3, atol=1e-4)
    places = jax.jit(system.places)(variables(), {"image": batch()["image"]})
    np.testing.assert_allclose(places.mean((1, 2)), found["video"], rtol=1e-4, atol=1e-5)


# Losses ------------------------------------------------------------------------------------------------------------------


def values(system, inputs=None, key: int = 0):
    value, new, metrics = jax.jit(system.loss)(variables(), batch() if inputs is None else inputs, jax.random.key(key))
    return float(value), new, {name: float(total / number) for name, (total, number) in metrics.items()}


def test_the_loss_is_the_sum_of_its_four_terms_or_of_two():
    value, _, terms = values(small())
    names = {f"{kind}_{way}" for kind in ("sampled", "semi_hard") for way in ("video_to_audio", "audio_to_video")}
    assert names <= set(terms)
    assert value == pytest.approx(sum(terms[name] for name in names), rel=1e-5) == pytest.approx(terms["loss"], rel=1e-5)
    value, _, terms = values(small(system__loss="rank"))
    assert value == pytest.approx(terms["sampled_video_to_audio"] + terms["sampled_audio_to_video"], rel=1e-5)
    assert "semi_hard_video_to_audio" not in terms


@pytest.mark.parametrize("loss", ["triplets", "rank", "mms"])
def test_rows_without_sound_count_in_no_term(loss):
    kept = np.arange(ROWS) != 2
    inputs = batch() | {"spectrogram_length": batch()["spectrogram_length"] * kept}
    _, _, metrics = jax.jit(small(system__loss=loss).loss)(variables(), inputs, jax.random.key(0))
    assert {float(number) for name, (_, number) in metrics.items() if name != "loss"} == {ROWS - 1}
    _, _, silent = jax.jit(small(system__loss=loss).loss)(variables(), inputs | {"spectrogram_length": 0 * kept.astype(np.int32)},
                                                          jax.random.key(0))
    assert {float(total) for total, _ in silent.values()} == {0.0}


def test_the_legacy_floor_costs_more_where_all_impostors_are_below_0():
    lower, higher = (values(small(system__legacy_floor=floor))[2]["semi_hard_video_to_audio"] for floor in (False, True))
    assert higher >= lower


def test_jitter_and_impostors_change_with_the_key_and_inference_does_not():
    jittered = dict(system__loss="mms", system__margin=0.0)
    assert values(small(**jittered), key=0)[0] != values(small(**jittered), key=1)[0]
    still = small(**jittered, system__jitter=(0.0, 0.0))
    assert values(still, key=0)[0] == values(still, key=1)[0]
    assert values(small(**jittered, system__jitter_form="late"))[0] != values(small(**jittered))[0]
    embed = [jax.jit(small(system__jitter_form=form).embed)(variables(), batch())["audio"] for form in ("centred", "late")]
    np.testing.assert_array_equal(*embed)


@pytest.mark.parametrize(("batch_norm", "moves"), [("running", False), ("batch", True)])
def test_a_frozen_image_network_keeps_its_statistics(batch_norm, moves):
    _, new, _ = values(small(system__image_batch_norm=batch_norm))
    before = variables()["batch_stats"]
    moved = {name: max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (new["batch_stats"][name], before[name])),
                                                          strict=True)) for name in ("audio", "video")}
    assert (moved["video"] > 0) == moves
    assert moved["audio"] > 0


def test_pictures_are_changed_only_where_that_is_asked_for():
    same = values(small(system__jitter=(0.0, 0.0), system__loss="mms", system__margin=0.0), key=5)[0]
    flipped = values(small(system__jitter=(0.0, 0.0), system__loss="mms", system__margin=0.0, augment__flip=True), key=5)[0]
    assert same != flipped


def test_eight_devices_give_the_loss_and_the_gradients_of_one():
    system = small(system__similarity="misa")

    def step(params, inputs):
        def loss(params):
            return system.loss({**variables(), "params": params}, inputs, jax.random.key(0))[0]

        return jax.value_and_grad(loss)(params)

    split = meshes.batch_sharding(meshes.make_mesh(8, 1))
    one = jax.jit(step)(variables()["params"], batch())
    many = jax.jit(step)(variables()["params"], jax.device_put(batch(), split))
    np.testing.assert_allclose(many[0], one[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, float(np.abs(b).max()))), many[1], one[1])


def test_another_front_end_is_refused():
    with pytest.raises(errors.ConfigError, match="expected mel40"):
        made(audio__front_end="log")
