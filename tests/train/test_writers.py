"""Metrics go to a file of JSON lines, and a resumed run writes no line twice."""

import json

import numpy as np
import pytest

from avc_jax.train.writers import JsonlWriter, average, make_writer


def lines(path):
    def refuse(name):
        pytest.fail(f"{name} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_scalars_become_one_line_per_call(path):
    writer = JsonlWriter(path)
    writer.write_scalars(10, {"train/loss": np.float32(0.5), "train/skipped": 3})
    writer.write_scalars(20, {"train/loss": 0.25})
    found = lines(path)  # without closing: a killed run has its lines
    assert [{name: value for name, value in row.items() if name != "time"} for row in found] == [
        {"step": 10, "train/loss": 0.5, "train/skipped": 3.0}, {"step": 20, "train/loss": 0.25}]
    assert found[0]["time"] > 1.6e9
    writer.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.inf, np.float32("nan")])
def test_what_is_not_finite_becomes_null(path, value):
    writer = JsonlWriter(path)
    writer.write_scalars(1, {"train/loss": value, "train/lr": 0.1})
    writer.close()
    assert lines(path)[0]["train/loss"] is None
    assert lines(path)[0]["train/lr"] == 0.1


def test_other_kinds_are_left_to_tensorboard(path):
    writer = JsonlWriter(path)
    writer.write_images(1, {"x": np.zeros((1, 2, 2, 3))})
    writer.write_hparams({"x": 1})
    writer.write_texts(1, {"x": "y"})
    writer.write_histograms(1, {"x": np.zeros(3)})
    writer.close()
    assert path.read_text() == ""


def test_resuming_drops_later_lines_and_what_was_cut_and_goes_on(tmp_path, path):
    path.write_text('{"step": 10, "a": 1}\n{"step": 20, "a": 2}\n[]\n{"step": 30, "a": 3}\n{"step": 20, "evaluate/x": 4}\n'
                    '{"step": 2')
    writer = make_writer(tmp_path, 20)
    writer.write_scalars(30, {"a": 5})
    writer.flush()
    writer.close()
    assert [(row["step"], row.get("a"), row.get("evaluate/x")) for row in lines(path)] == [
        (10, 1, None), (20, 2, None), (20, None, 4), (30, 5.0, None)]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_starting_anew_drops_every_line_of_a_step(tmp_path, path):
    path.write_text('{"step": 10, "a": 1}\n')
    make_writer(tmp_path, 0).close()
    assert path.read_text() == ""


def test_average_weighs_steps_by_their_counts_and_leaves_out_what_nothing_counted_for():
    steps = [{"loss": (np.float32(6), np.float32(4)), "none": (np.float32(0), np.float32(0))},
             {"loss": (np.float32(1), np.float32(1)), "none": (np.float32(0), np.float32(0))}]
    assert average(steps) == {"loss": pytest.approx(7 / 5)}
