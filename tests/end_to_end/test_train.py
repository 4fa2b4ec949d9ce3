"""A whole run: trained, evaluated, resumed, exported."""

import json
import subprocess
import sys

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


def test_an_export_loads_with_orbax_alone(finished, cache, tmp_path):
    out = tmp_path / "exported"
    for _ in range(2):  # the second replaces the first
        command.run(cache, f"--checkpoint={finished}", f"--out={out}", module="avc_jax.export")
    description = json.loads((out / "model.json").read_text())
    assert description["params_sha256"] == command.results(finished)["train"]["params_sha256"]
    script = ("import sys, orbax.checkpoint as ocp\n"
              f"variables = ocp.StandardCheckpointer().restore({str(out / 'variables')!r})\n"
              "assert 'avc_jax' not in sys.modules\n"
              "print(sorted(variables), sorted(variables['params']))")
    printed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['batch_stats', 'params'] ['audio', 'fusion', 'vision']"


def test_an_export_refuses_to_replace_what_is_no_export(finished, cache, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    printed = command.run(cache, f"--checkpoint={finished}", f"--out={tmp_path}", module="avc_jax.export", expect=64)
    assert "no model folder" in printed and (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_export_of_nothing_is_a_clear_error(cache, tmp_path):
    printed = command.run(cache, f"--checkpoint={tmp_path}", f"--out={tmp_path / 'x'}", module="avc_jax.export", expect=66)
    assert "config.json" in printed
