"""A run asks all evaluators about the trained and the untrained network, and a checkpoint gives the same answers."""

import csv
import json
import shutil

import media
import numpy as np
import pytest
from end_to_end import command

pytestmark = pytest.mark.slow

NAMES = ("avc", "transfer", "clustering", "concepts")


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A CSV of twelve sounds of three classes in two folds."""
    folder = tmp_path_factory.mktemp("tones")
    rows = [("path", "label", "fold")]
    for number in range(12):
        media.tone_video(folder / f"{number}.wav", video=False, tone_hz=300 * (1 + number % 3) + number, rate_hz=8000)
        rows.append((f"{number}.wav", "abc"[number % 3], str(number // 6)))
    with open(folder / "tones.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "tones.csv"


@pytest.fixture(scope="module")
def args(rendered):
    return (*command.TINY, f"--config.data.root={rendered}", "--config.data.manifest=four.csv",
            "--config.clustering.clusters=16", "--config.transfer.cost=0.01",
            "--config.transfer.subclips=2", "--config.train.steps=10")


@pytest.fixture(scope="module")
def asked(args, cache, tmp_path_factory):
    """The workdir of a run of ten steps, and what it printed."""
    workdir = tmp_path_factory.mktemp("asked") / "run"
    return workdir, command.run(cache, *args, f"--workdir={workdir}", "--config.train.evaluate_every=5",
                                "--config.evaluators.concepts=every")


def test_every_evaluator_leaves_rows_of_both_networks(asked):
    workdir, printed = asked
    found = command.results(workdir)["evaluate"]
    assert set(NAMES) <= set(found)
    for name in NAMES:
        assert found[name]["step"] == 10 and found[name]["params_sha256"] == command.results(workdir)["train"]["params_sha256"]
        for row in found[name]["rows"]:
            assert None not in (row["trained"], row["untrained"], row["chance"])
    for name in NAMES[1:]:
        assert f"{name} at step 10" in printed
        assert found[name]["trained"] != found[name]["untrained"]
    assert found["avc"]["untrained"]["accuracy"] == found["avc"]["rows"][0]["untrained"]
    assert np.sum(found["transfer"]["trained"]["confusion"]) == found["transfer"]["trained"]["clips"] == 32


def test_numbers_are_in_the_metrics_at_the_steps_at_which_they_were_due(asked):
    workdir, _ = asked
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for key, steps in (("avc/accuracy", [5, 10]), ("concepts/video/at_least_3", [5, 10]), ("transfer/accuracy", [10]),
                       ("clustering/audio/nmi", [10])):
        assert [line["step"] for line in lines if f"evaluate/{key}" in line] == steps, key


def test_a_checkpoint_alone_gives_the_same_figures(asked, args, cache):
    workdir, _ = asked
    before = command.results(workdir)["evaluate"]
    shutil.rmtree(workdir / "features")
    printed = command.run(cache, *args, f"--workdir={workdir}", "--mode=evaluate")
    assert command.results(workdir)["evaluate"] == before
    assert "transfer at step 10" in printed
    # The untrained network's answers were kept, so nothing was computed for it.
    assert len({file.name[:16] for file in (workdir / "features").glob("*.npz")}) == 1


def test_records_and_named_sounds_and_one_protocol_alone(rendered, args, tones, cache, tmp_path):
    records = tmp_path / "records"
    command.run(cache, f"--videos={rendered}", f"--out={records}", "--manifest=four.csv", "--rate_hz=8000", "--short_side=40",
                "--workers=2", module="avc_jax.prepare")
    kept = [arg for arg in args if "data.root" not in arg and "manifest" not in arg]
    printed = command.run(cache, *kept, f"--workdir={tmp_path / 'w'}", "--config.data.source=records",
                          f"--config.data.root={records}", f"--config.transfer.manifest={tones}", "--config.evaluators.avc=off",
                          "--config.evaluators.concepts=off", "--config.transfer.cost=0")
    found = command.results(tmp_path / "w")["evaluate"]
    assert {"transfer", "clustering"} <= set(found) and not {"avc", "concepts"} & set(found)
    assert found["transfer"]["trained"]["clips"] == 12 and found["transfer"]["rows"][0]["chance"] == pytest.approx(1 / 3)
    assert (found["clustering"]["trained"]["clips"], found["clustering"]["trained"]["classes"]) == (32, 4)
    assert "transfer at step 10" in printed


def test_sounds_that_are_not_there_end_the_run_before_it_begins(args, cache, tmp_path):
    printed = command.run(cache, *args, f"--workdir={tmp_path / 'w'}", "--config.transfer.manifest=none.csv", expect=66)
    assert "config.transfer.manifest=none.csv" in printed and "Compiled the step" not in printed
