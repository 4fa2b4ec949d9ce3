"""Held-out accuracy: counted right, whatever the batches, with an interval that knows how decisions hang together."""

import time

import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest
import tiny

from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data.quarantine import Quarantine
from avc_jax.evaluators import avc
from avc_jax.parallel import mesh as meshes
from avc_jax.systems.base import Feature, System

Z = 1.959963984540054


def wilson(p, n):
    """The two roots of (p - q)^2 = z^2 q (1 - q) / n."""
    roots = np.roots([1 + Z * Z / n, -(2 * p + Z * Z / n), p * p])
    return min(roots), max(roots)


# The interval -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.5, 0.7, 0.95])
def test_interval_is_wilsons_over_all_decisions_when_they_are_independent(p):
    # A clip's mean of two independent decisions has variance p (1 - p) / 2: as many trials as decisions.
    assert avc.interval(p, 100, p * (1 - p) / 2) == pytest.approx(wilson(p, 200))


def test_interval_is_wilsons_over_clips_when_both_decisions_always_agree():
    assert avc.interval(0.7, 100, 0.7 * 0.3) == pytest.approx(wilson(0.7, 100))


def test_trials_are_never_more_than_decisions_nor_fewer_than_clips():
    assert avc.interval(0.7, 100, 1e-9) == pytest.approx(wilson(0.7, 200))  # decisions that make up for each other
    assert avc.interval(0.7, 100, 0.9) == pytest.approx(wilson(0.7, 100))


@pytest.mark.parametrize("accuracy", [0.0, 0.01, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("clips", [1, 7, 1000])
def test_interval_contains_the_accuracy_and_stays_within_0_and_1(accuracy, clips):
    low, high = avc.interval(accuracy, clips, 0.1)
    assert 0 <= low <= accuracy <= high <= 1
    assert low < high


def test_interval_of_no_clip_is_everything():
    assert avc.interval(0.0, 0, 0.0) == (0.0, 1.0)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        both = rng.random(150) < 0.5  # half of the clips: one decision, said twice
        first, second = rng.random((2, 150)) < 0.7
        mean = np.where(both, first, (first + second.astype(float)) / 2)
        low, high = avc.interval(mean.mean(), 150, mean.var())
        covered += low <= 0.7 <= high
    assert 0.93 < covered / 2000 < 0.97


# The evaluation -----------------------------------------------------------------------------------------------------------


def system_that_scores(score):
    config = tiny.config()
    samples = round(config.data.window_s * config.audio.rate_hz)
    features = {"frame": Feature((32, 32, 3), "uint8"), "waveform": Feature((samples,), "int16"), "label": Feature((), "int32"),
                "file": Feature((), "int32")}
    return System(features=features, init=None, loss=None, embed=None, maps=None, transfer=None,
                  score=lambda variables, batch: score(batch))


def knows(batch):
    return jnp.where(batch["label"] == 1, 0.9, 0.1)


def looks(batch):
    """Something that depends on all of the content."""
    return jax.nn.sigmoid(batch["frame"].mean((1, 2, 3)) / 50 - 2 + jnp.abs(batch["waveform"] / 1000.0).mean(1)
                          - (batch["waveform"][:, ::7] ** 2 % 5).mean(1))


@pytest.fixture(scope="module")
def source(videos):
    return sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))


def evaluator(source, score, batch_size=4, devices=1, quarantine=None, **changes):
    config = tiny.config(evaluate__batch_size=batch_size, **changes)
    quarantine = quarantine or Quarantine(None, source.num_files, 0.5)
    mesh = meshes.make_mesh(-1, 1, jax.devices()[:devices])
    return avc.AVC(system_that_scores(score), config, source, mesh, quarantine)


@pytest.mark.parametrize(("score", "accuracy", "positive", "negative"), [
    (knows, 1.0, 1.0, 1.0),
    (lambda batch: 1 - knows(batch), 0.0, 0.0, 0.0),
    (lambda batch: 0.6 * jnp.ones(len(batch["label"])), 0.5, 1.0, 0.0),
    (lambda batch: 0.4 * jnp.ones(len(batch["label"])), 0.5, 0.0, 1.0),
], ids=["perfect", "perverse", "always yes", "always no"])
def test_accuracy_of_scorers_that_are_known(source, score, accuracy, positive, negative):
    result, _ = evaluator(source, score)({})
    assert result["accuracy"] == accuracy
    assert (result["accuracy_positive"], result["accuracy_negative"]) == (positive, negative)
    assert (result["clips"], result["pairs"], result["skipped"]) == (6, 12, 0)
    assert result["ci95"] == pytest.approx(avc.interval(accuracy, 6, 0.0))


@pytest.mark.parametrize(("batch_size", "devices"), [(2, 1), (3, 1), (8, 4), (12, 1), (16, 8), (64, 1)])
def test_result_is_the_same_for_any_batch_size_and_mesh(source, batch_size, devices):
    wanted, wanted_pairs = evaluator(source, looks)({}, keep=6)
    result, pairs = evaluator(source, looks, batch_size, devices)({}, keep=6)
    assert result == wanted
    for name, value in wanted_pairs.items():
        np.testing.assert_allclose(pairs[name], value, rtol=1e-5 if name == "score" else 0, err_msg=name)
    assert np.ptp(wanted_pairs["score"]) > 0


def test_every_checkpoint_is_asked_the_same_and_another_seed_asks_something_else(source):
    make = lambda **changes: evaluator(source, looks, **changes)({}, keep=6)[1]  # noqa: E731
    one, again, other = make(), make(), make(evaluate__seed=1)
    np.testing.assert_array_equal(one["waveform"], again["waveform"])
    assert not np.array_equal(one["frame_s"], other["frame_s"])


def test_score_of_every_pair_is_that_of_its_own_row(source):
    _, pairs = evaluator(source, lambda batch: batch["file"] / 10 + batch["label"] / 100, batch_size=8)({}, keep=6)
    np.testing.assert_allclose(pairs["score"], pairs["file"] / 10 + pairs["label"] / 100, rtol=1e-6)
    np.testing.assert_array_equal(pairs["clip"], np.arange(6))
    np.testing.assert_array_equal(pairs["label"], [1, 0] * 3)  # true and false in turn, for people to look at


def test_bad_clips_are_skipped_and_counted_never_replaced(videos, tmp_path):
    for number in range(4):
        (tmp_path / f"{number:02d}.mp4").symlink_to(videos / f"{number:02d}.mp4")
    media.text_file(tmp_path / "04.mp4")
    source = sources.open_folder(str(tmp_path), "", (1.0, 0.0, 0.0))
    quarantine = Quarantine(None, source.num_files, 0.5)
    result, pairs = evaluator(source, knows, quarantine=quarantine)({}, keep=10)
    assert (result["accuracy"], result["clips"], result["pairs"], result["skipped"]) == (1.0, 4, 8, 1)
    assert set(quarantine.reasons) == {"04.mp4"}
    assert 4 not in {*pairs["clip"], *pairs["sound_clip"]}


def test_no_good_clip_at_all_gives_no_clips(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        media.text_file(tmp_path / name)
    source = sources.open_folder(str(tmp_path), "", (1.0, 0.0, 0.0))
    result, pairs = evaluator(source, knows, quarantine=Quarantine(None, 2, 1.0))({}, keep=3)
    assert (result["clips"], result["skipped"], result["ci95"]) == (0, 2, [0.0, 1.0])
    assert len(pairs["label"]) == 0


@pytest.mark.parametrize(("max_clips", "chosen"), [(0, range(6)), (6, range(6)), (2, [0, 5]), (3, [0, 2, 5]), (99, range(6))])
def test_choice_of_clips_is_even_and_asks_each_the_same_as_the_whole(source, max_clips, chosen):
    whole = evaluator(source, looks)({}, keep=6)[1]
    result, pairs = evaluator(source, looks)({}, max_clips=max_clips, keep=6)
    assert result["clips"] == len(chosen)
    np.testing.assert_array_equal(pairs["clip"], chosen)
    for row, clip in enumerate(chosen):
        if pairs["label"][row] == whole["label"][clip]:
            np.testing.assert_array_equal(pairs["waveform"][row], whole["waveform"][clip])


def test_whoever_is_told_of_progress_may_stop_it(source):
    told = []

    def on_batch(done, clips):
        told.append((done, clips))
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator(source, knows)({}, on_batch=on_batch)
    assert told == [(2, 6), (4, 6)]


def test_whoever_waits_for_a_batch_may_stop_it(source, monkeypatch):
    waits = []

    def on_wait():
        waits.append(1)
        if len(waits) == 3:
            raise errors.Stopped("Stopped.")

    made = evaluator(source, knows)
    monkeypatch.setattr(made._reader, "evaluate", lambda clip: time.sleep(5))
    with pytest.raises(errors.Stopped):
        made({}, on_wait=on_wait)


def test_batch_of_one_pair_is_refused_in_words(source):
    with pytest.raises(errors.ConfigError, match=r"evaluate\.batch_size"):
        evaluator(source, knows, batch_size=1)({})


def test_pairs_are_written_for_the_page(source, tmp_path):
    _, pairs = evaluator(source, knows)({}, keep=4)
    avc.write_pairs(tmp_path / "pairs.npz", pairs, source, tiny.config())
    with np.load(tmp_path / "pairs.npz") as found:
        assert found["spectrogram"].shape == (4, 65, 99)
        assert list(found["frame_clip"]) == [f"{clip:02d}.mp4" for clip in pairs["clip"]]
        assert list(found["sound_clip"]) == [f"{clip:02d}.mp4" for clip in pairs["sound_clip"]]
        np.testing.assert_array_equal(found["frame"], pairs["frame"])
        assert (int(found["rate_hz"]), float(found["window_s"])) == (8000, 0.5)
        # The spectrogram is that of the very sound: its loudest bin is the tone of its video.
        for image, clip in zip(found["spectrogram"], pairs["sound_clip"], strict=True):
            assert abs(image.mean(1).argmax() * 8000 / 128 - (300 + 250 * clip)) < 65
