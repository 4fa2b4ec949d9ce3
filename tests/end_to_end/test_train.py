"""A whole run: trained, evaluated, resumed."""

import json

from end_to_end import command


def test_a_run_leaves_the_files_and_names_that_others_rely_on(finished):
    results = command.results(finished)
    assert results["train"]["step"] == 60
    assert len(results["train"]["params_sha256"]) == 64
    scores = results["evaluate"]["avc"]
    assert scores["clips"] + scores["skipped"] == results["data"]["clips"] - results["data"]["splits"]["train"]
    assert scores["ci95"][0] <= scores["accuracy"] <= scores["ci95"][1]
    assert scores["step"] == 60 and scores["split"] == "heldout"
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(5, 61, 5))
    assert [line["step"] for line in lines if "evaluate/avc/accuracy" in line] == [20, 40, 60]
    assert "<html" in (finished / "report.html").read_text()
    assert list((finished / "tensorboard").glob("events*"))


def test_evaluating_again_gives_the_same_accuracy(finished, videos, cache, tmp_path):
    before = command.results(finished)["evaluate"]["avc"]
    command.run(cache, *command.TINY, f"--workdir={finished}", f"--config.data.root={videos}", "--mode=evaluate")
    assert command.results(finished)["evaluate"]["avc"] == before


def test_the_same_command_after_the_end_trains_nothing(finished, videos, cache):
    sha256 = command.results(finished)["train"]["params_sha256"]
    printed = command.run(cache, *command.TINY, f"--workdir={finished}", f"--config.data.root={videos}",
                          "--config.train.steps=60")
    assert "Resuming at step 60" in printed and "Compiled the step" not in printed
    assert command.results(finished)["train"]["params_sha256"] == sha256
