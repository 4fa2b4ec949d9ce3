"""AVLnet: the sizes of the paper, what a batch may lack, and what each key of its config does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from avc_jax import audio, errors, losses, systems
from avc_jax import config as configs
from avc_jax.parallel import mesh as meshes
from avc_jax.systems import avlnet, base

SMALL = {"system__trunk_width": 1 / 16, "system__embedding": 16, "system__video_width": 12, "data__window_s": 0.64,
         "data__max_words": 5, "data__sound": "spectrogram"}
ROWS = 8


def made(**changes) -> base.System:
    """The system of the default config with keys changed, as `system__variant="tri"`."""
    return systems.make(tiny.changed(configs.default("avlnet"), changes))


def small(**changes) -> base.System:
    """As `made`, with little of everything: a trunk of one block, 16 units, 0.64 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(avlnet, "WIDTHS", (128, 256))
        patch.setattr(avlnet, "DEPTHS", (1,))
        return made(**SMALL | changes)


@functools.cache
def embedded(variant: str) -> dict[str, np.ndarray]:
    """What a small variant makes of the batch."""
    system = small(system__variant=variant)
    return jax.device_get(jax.jit(system.embed)(variables_of(variant), inputs_of(system)))


@functools.cache
def batch(rows: int = ROWS) -> dict[str, np.ndarray]:
    """Sounds of different lengths, videos and captions, two of each film; with zeros behind their ends."""
    rng = np.random.default_rng(0)
    frames, words = rng.integers(17, 65, rows).astype(np.int32), rng.integers(1, 6, rows).astype(np.int32)
    frames[0], words[0] = 64, 5
    level = rng.uniform(-80, 0, (rows, 40, 64)) * (np.arange(64) < frames[:, None, None])
    vectors = rng.normal(size=(rows, 5, 300)) * (np.arange(5)[:, None] < words[:, None, None])
    return {"spectrogram": level.astype(np.float16), "spectrogram_length": frames,
            "video": rng.normal(size=(rows, 12)).astype(np.float32), "video_length": np.full(rows, 9, np.int32),
            "words": vectors.astype(np.float16), "words_length": words, "file": (np.arange(rows) // 2).astype(np.int32)}


def inputs_of(system: base.System, rows: int = ROWS) -> dict[str, np.ndarray]:
    return {name: value for name, value in batch(rows).items() if name in system.features}


@functools.cache
def variables_of(variant: str):
    """Variables of a small variant, with running statistics of a batch."""
    system = small(system__variant=variant)
    variables = jax.jit(system.init)(jax.random.key(0), inputs_of(system))
    _, new, _ = jax.jit(system.loss)(variables, inputs_of(system), jax.random.key(0))
    return variables | jax.device_get(new)


def value_of(system: base.System, inputs, variables) -> float:
    return float(jax.jit(system.loss)(variables, inputs, jax.random.key(0))[0])


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# Sizes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "embedding", "width", "parameters"), [
    ("audio_video", 4096, 4096, 84_531_202), ("tri", 6144, 4096, 193_353_730), ("fused", 4096, 4096, 116_615_170),
    ("audio_video", 2048, 4096, 61_456_386), ("audio_video", 4096, 2048, 76_142_594)])
def test_parameters_are_as_many_as_in_the_paper(variant, embedding, width, parameters):
    params = base.shapes_of(made(system__variant=variant, system__embedding=embedding, system__video_width=width))["params"]
    assert count(params) == parameters
    assert count(params["audio"]["trunk"]) == 44_670_978


@pytest.mark.parametrize(("variant", "unused"), [("audio_video", 2), ("tri", 2), ("fused", 2 + 2_099_200)])
def test_what_the_published_networks_declare_and_do_not_use_is_named_so(variant, unused):
    params = base.shapes_of(made(system__variant=variant))["params"]
    found = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)
             if any(key.key.startswith("unused") for key in path)]
    assert count(found) == unused


def test_inputs_are_ten_seconds_of_sound_and_two_streams_of_features():
    features = made(system__variant="tri").features
    assert {name: (feature.shape, feature.dtype, feature.modality) for name, feature in features.items()} == {
        "waveform": ((160000,), "int16", "audio"), "waveform_length": ((), "int32", "audio"),
        "video": ((4096,), "float32", "video"), "video_length": ((), "int32", "video"),
        "words": ((20, 300), "float16", "text"), "words_length": ((), "int32", "text"), "file": ((), "int32", "")}
    stored = made(data__sound="spectrogram").features
    assert (stored["spectrogram"].shape, stored["spectrogram"].dtype) == ((40, 1000), "float16")
    assert "waveform" not in stored
    assert "words" not in stored


def test_another_front_end_is_refused():
    with pytest.raises(errors.ConfigError, match=r"config\.audio\.front_end: found log, expected mel40"):
        made(audio__front_end="log")


# Embeddings --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "names"), [
    ("audio_video", {"audio", "video"}), ("tri", {"audio", "video", "text", "audio+video"}), ("fused", {"audio+text", "video"})])
def test_each_variant_embeds_what_its_directions_ask_for(variant, names):
    system = small(system__variant=variant)
    shapes = jax.eval_shape(system.embed, base.shapes_of(system), inputs_of(system))
    assert set(shapes) == names == {name for direction in system.directions for name in direction}
    assert {leaf.shape for leaf in shapes.values()} == {(ROWS, 16)}
    assert (system.common_space, system.similarity) == (True, "dot")


def test_what_follows_a_sound_does_not_matter_and_the_padding_does():
    system, variables = small(), variables_of("audio_video")
    inputs = {name: batch()[name] for name in ("spectrogram", "spectrogram_length")}
    noisy = dict(inputs)
    rest = np.arange(64) >= inputs["spectrogram_length"][:, None, None]
    noisy["spectrogram"] = np.where(rest, np.float16(-33), inputs["spectrogram"])
    embed = jax.jit(system.embed)
    np.testing.assert_array_equal(embed(variables, noisy)["audio"], embed(variables, inputs)["audio"])
    loudest = jax.jit(small(system__padding="loudest").embed)(variables, inputs)["audio"]
    changed = np.abs(loudest - embed(variables, inputs)["audio"]).max(1)
    assert (changed[inputs["spectrogram_length"] < 64] > 1e-3).all()
    assert (changed[inputs["spectrogram_length"] == 64] == 0).all()


def test_samples_give_what_their_stored_spectrogram_gives():
    rng = np.random.default_rng(3)
    waveform, samples = rng.integers(-9000, 9000, (3, 10240)).astype(np.int16), np.array([10240, 5000, 0], np.int32)
    level = np.asarray(audio.mel40(waveform / np.float32(32768), samples))[:, :, :64]
    stored = {"spectrogram": level, "spectrogram_length": np.array([64, 32, 0], np.int32)}
    found = [jax.jit(small(data__sound=sound).embed)(variables_of("audio_video"), inputs)["audio"] for sound, inputs in (
        ("waveform", {"waveform": waveform, "waveform_length": samples}), ("spectrogram", stored))]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-4)


def test_sounds_and_videos_alone_and_without_lengths_are_embedded_as_together():
    system, variables = small(), variables_of("audio_video")
    whole = {"spectrogram": batch()["spectrogram"][:1], "video": batch()["video"][:1]}  # the first fills its window
    together = jax.jit(system.embed)(variables, {name: value[:1] for name, value in inputs_of(system).items()})
    for field, name in (("spectrogram", "audio"), ("video", "video")):
        alone = jax.jit(system.embed)(variables, {field: whole[field]})
        assert set(alone) == {name}
        np.testing.assert_allclose(alone[name], together[name], rtol=1e-5, atol=1e-6)


def test_sound_and_pictures_together_are_their_sum_and_a_missing_one_adds_nothing():
    system, inputs = small(system__variant="tri"), dict(batch())
    inputs["spectrogram_length"] = inputs["spectrogram_length"] * (np.arange(ROWS) != 2)
    inputs["video_length"] = inputs["video_length"] * (np.arange(ROWS) != 5)
    found = jax.jit(system.embed)(variables_of("tri"), inputs)
    wanted = np.array(found["audio"] + found["video"])
    wanted[2], wanted[5] = found["video"][2], found["audio"][5]
    np.testing.assert_allclose(found["audio+video"], wanted, rtol=1e-6)


def test_pictures_without_the_3d_half_are_as_if_it_were_zeros_and_its_weights_stay():
    short, variables = small(system__video_zeros=5), variables_of("audio_video")
    assert short.features["video"].shape == (7,)
    seen = batch()["video"] * (np.arange(12) < 7)
    wanted = small().embed(variables, {"video": seen})["video"]
    np.testing.assert_array_equal(short.embed(variables, {"video": seen[:, :7]})["video"], wanted)
    grads = jax.grad(lambda params: (short.embed({**variables, "params": params}, {"video": seen[:, :7]})["video"] ** 2).sum())(
        variables["params"])["video"]["linear"]["kernel"]
    assert (grads[7:] == 0).all() and (grads[:7] != 0).any(1).all()
    with pytest.raises(errors.ConfigError, match=r"config\.system\.video_zeros: found 12, expected less than .* = 12"):
        small(system__video_zeros=12)


# Losses ------------------------------------------------------------------------------------------------------------------

IN_EVAL = dict(system__batch_norm="running")  # so that rows do not influence each other
EXPECTED = {
    "mms": lambda s, film: losses.mms(s, 0.05), "infonce": lambda s, film: losses.mms(s, 0.0),
    "amm": lambda s, film: losses.adaptive_margin(s, 0.5), "nce": lambda s, film: losses.nce(s),
    "max_margin": lambda s, film: losses.max_margin(s, 0.05, losses.film_weights(film, 0.5)),
    "mil_nce": lambda s, film: losses.mil_nce(s),
}


@pytest.mark.parametrize("loss", EXPECTED)
def test_the_loss_is_that_of_sounds_against_videos(loss):
    system, found = small(system__loss=loss, system__margin=0.05, **IN_EVAL), embedded("audio_video")
    total, number = EXPECTED[loss](found["audio"] @ found["video"].T, batch()["file"])
    assert value_of(system, inputs_of(system), variables_of("audio_video")) == pytest.approx(float(total / number), rel=1e-4)


def test_clips_of_one_film_may_be_ignored():
    system, variables = small(system__same_film="ignored", **IN_EVAL), variables_of("audio_video")
    found, film = embedded("audio_video"), batch()["file"]
    total, number = losses.mms(found["audio"] @ found["video"].T, 0.001, same=film[:, None] == film)
    assert value_of(system, inputs_of(system), variables) == pytest.approx(float(total / number), rel=1e-4)


@pytest.mark.parametrize(("variant", "tri_loss", "pairs"), [
    ("tri", "pairs", [("audio", "video"), ("audio", "text"), ("text", "video")]),
    ("tri", "text_to_sum", [("text", "audio+video")]), ("fused", "pairs", [("audio+text", "video")])])
def test_variants_with_text_compare_what_the_paper_compares(variant, tri_loss, pairs):
    system, variables = small(system__variant=variant, system__tri_loss=tri_loss, **IN_EVAL), variables_of(variant)
    found = embedded(variant)
    wanted = sum(float(total / number) for total, number in (
        losses.mms(found[left] @ found[right].T, 0.001) for left, right in pairs))
    assert value_of(system, inputs_of(system), variables) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("variant", "field"), [("audio_video", "spectrogram"), ("audio_video", "video"), ("fused", "words")])
def test_rows_that_lack_a_modality_are_left_out_of_the_loss(variant, field):
    system, variables = small(system__variant=variant, **IN_EVAL), variables_of(variant)
    kept = np.arange(ROWS) != 3
    inputs = inputs_of(system)
    lacking = inputs | {f"{field}_length": inputs[f"{field}_length"] * kept}
    without = {name: value[kept] for name, value in inputs.items()}
    assert value_of(system, lacking, variables) == pytest.approx(value_of(system, without, variables), rel=1e-5)
    assert value_of(system, lacking, variables) != pytest.approx(value_of(system, inputs, variables), rel=1e-5)


def test_only_the_pairs_of_a_missing_caption_are_left_out_of_three_branches():
    system, variables, kept = small(system__variant="tri", **IN_EVAL), variables_of("tri"), np.arange(ROWS) != 3
    found = embedded("tri")
    wanted = sum(float(total / number) for total, number in (
        losses.mms(found[left] @ found[right].T, 0.001, present)
        for left, right, present in (("audio", "video", None), ("audio", "text", kept), ("text", "video", kept))))
    lacking = batch() | {"words_length": batch()["words_length"] * kept}
    assert value_of(system, lacking, variables) == pytest.approx(wanted, rel=1e-4)


def test_a_batch_without_any_sound_costs_nothing_and_stays_finite():
    system, variables = small(**IN_EVAL), variables_of("audio_video")
    silent = inputs_of(system) | {"spectrogram_length": np.zeros(ROWS, np.int32)}
    value, grads = jax.jit(jax.value_and_grad(lambda params: system.loss({**variables, "params": params}, silent,
                                                                        jax.random.key(0))[0]))(variables["params"])
    assert float(value) == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_pooling_over_all_positions_sees_the_padding():
    inputs = inputs_of(small())
    values = [value_of(small(system__pool=pool, **IN_EVAL), inputs, variables_of("audio_video")) for pool in ("masked", "all")]
    assert abs(values[0] - values[1]) > 1e-4
    masked, everything = (small(system__pool=pool) for pool in ("masked", "all"))
    np.testing.assert_array_equal(*(jax.jit(system.embed)(variables_of("audio_video"), inputs)["audio"]
                                    for system in (masked, everything)))


def test_words_that_are_counted_let_the_bias_compete():
    inputs = {name: batch()[name] for name in ("words", "words_length")}
    masked, counted = (jax.jit(small(system__variant="tri", system__word_padding=form).embed)(variables_of("tri"), inputs)["text"]
                       for form in ("masked", "counted"))
    short = batch()["words_length"] < 5
    assert (np.abs(masked - counted).max(1)[short] > 1e-6).any()
    assert (np.abs(masked - counted).max(1)[~short] == 0).all()


# Training ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["audio_video", "tri", "fused"])
def gradients(request):
    """(variables, gradients) of one step of a variant."""
    system, variables = small(system__variant=request.param), variables_of(request.param)
    grads = jax.jit(jax.grad(lambda params: system.loss({**variables, "params": params}, inputs_of(system),
                                                        jax.random.key(0))[0]))(variables["params"])
    return variables, grads


def test_every_parameter_learns_but_those_that_are_unused(gradients):
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients[1]):
        unused = any(key.key.startswith("unused") for key in path)
        assert (np.abs(leaf).max() > 0) != unused, jax.tree_util.keystr(path)


def test_running_statistics_stay_where_they_are_asked_to():
    variables = variables_of("audio_video")
    for batch_norm, moves in (("running", False), ("batch", True)):
        system = small(system__batch_norm=batch_norm)
        _, new, _ = jax.jit(system.loss)(variables, inputs_of(system), jax.random.key(0))
        before, after = (tree["batch_stats"]["audio"]["trunk"] for tree in (variables, new))
        assert (np.abs(after["norm1"]["mean"] - before["norm1"]["mean"]).max() > 0) == moves
        np.testing.assert_array_equal(after["unused_norm"]["mean"], before["unused_norm"]["mean"])


def test_the_margin_grows_with_the_steps_and_only_then_they_are_counted():
    assert "schedule" not in base.shapes_of(small())
    system = small(system__margin=0.1, system__margin_growth=2.0, system__margin_every=2, **IN_EVAL)
    state = {**variables_of("audio_video"), "schedule": {"step": jnp.int32(0)}}
    assert jax.tree.map(jnp.shape, base.shapes_of(system)["schedule"]) == {"step": ()}
    step, values = jax.jit(system.loss), []
    for _ in range(4):
        value, new, _ = step(state, inputs_of(system), jax.random.key(0))
        values.append(float(value))
        state = {**state, **new}
    fixed = [value_of(small(system__margin=margin, **IN_EVAL), inputs_of(system), variables_of("audio_video"))
             for margin in (0.1, 0.2)]
    np.testing.assert_allclose(values, [fixed[0], fixed[0], fixed[1], fixed[1]], rtol=1e-5)
    assert fixed[1] > fixed[0]


def test_eight_devices_give_the_loss_and_the_gradients_of_one():
    system, variables = small(system__variant="tri"), variables_of("tri")
    inputs = dict(batch(16)) | {"spectrogram_length": batch(16)["spectrogram_length"] * (np.arange(16) != 4)}

    def step(params, inputs):
        def loss(params):
            return system.loss({**variables, "params": params}, inputs, jax.random.key(0))[0]

        return jax.value_and_grad(loss)(params)

    split = meshes.batch_sharding(meshes.make_mesh(8, 1))
    one = jax.jit(step)(variables["params"], inputs)
    many = jax.jit(step)(variables["params"], jax.device_put(inputs, split))
    np.testing.assert_allclose(many[0], one[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, float(np.abs(b).max()))), many[1], one[1])


@pytest.mark.slow
def test_it_learns_32_pairs_of_noise_by_heart():
    import optax

    system = made(system__trunk_width=1 / 8, system__embedding=64, system__video_width=256, data__window_s=2.0,
                  data__sound="spectrogram")
    rng = np.random.default_rng(0)
    inputs = {"spectrogram": rng.uniform(-80, 0, (32, 40, 200)).astype(np.float16), "spectrogram_length": np.full(32, 200),
              "video": rng.normal(size=(32, 256)).astype(np.float32), "file": np.arange(32)}
    variables = jax.jit(system.init)(jax.random.key(0), inputs)
    optimizer = optax.adam(1e-3)
    params, stats, state = variables["params"], variables["batch_stats"], optimizer.init(variables["params"])

    @jax.jit
    def step(params, stats, state):
        def loss(params):
            value, new, metrics = system.loss({"params": params, "batch_stats": stats}, inputs, jax.random.key(0))
            return value, (new, metrics)

        (_, (new, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), new["batch_stats"], state, metrics["recall_audio_to_video"]

    for _ in range(300):
        params, stats, state, (hits, rows) = step(params, stats, state)
        if hits == rows:
            return
    pytest.fail(f"{hits} of {rows} pairs are learned")
