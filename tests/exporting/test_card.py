"""The model card: says what is known, calls unknown what is not."""

import json
import re

import pytest
import tiny

from avc_jax import model as models
from avc_jax import systems
from avc_jax.exporting import card, facts

SHA256 = "ab" * 32
ROW = {"name": "Pairs judged right", "trained": 0.915, "untrained": 0.502, "chance": 0.5, "form": "share", "note": "on 400 clips"}
GAIN = {"name": "NMI of | clusters", "trained": 0.4321, "untrained": None, "chance": None, "form": "number", "note": ""}
RESULTS = {
    "train": {"step": 1200, "steps": 1500, "pairs": 307200, "params_sha256": SHA256, "skipped_steps": 0},
    "data": {"root": "/home/somebody/videos/of_birds/", "clips": 2000, "files": 1990, "splits": {"train": 1600, "heldout": 400},
             "split": "train", "clips_sha256": "cd" * 32, "quarantined": 3},
    "evaluate": {"avc": {"rows": [ROW], "step": 1200, "params_sha256": SHA256, "trained": {"large": [0] * 1000}},
                 "clustering": {"rows": [GAIN], "step": 1000, "params_sha256": "ef" * 32, "note": "fewer classes"}},
}


def describe(**facts_of_it) -> dict:
    system = systems.make(tiny.config())
    model = models.Model(tiny.config(data__root="/home/somebody/videos/of_birds"), system, tiny.variables(system), step=1200)
    return facts_of_it | model.describe() | {
        "params_sha256": SHA256, "versions": {"jax": "1.2.3"},
        "programs": {"embed_audio": {"inputs": ["waveform"], "outputs": {"audio": {"shape": ["batch", 32], "dtype": "float32"}}},
                     "score": {"inputs": ["frame", "waveform"], "outputs": {"score": {"shape": ["batch"], "dtype": "float32"}}}},
        "formats": {"safetensors": {"holds": "arrays", "bytes": 38_000_000, "largest_difference": 0.0},
                    "stablehlo": {"holds": "programs", "bytes": 1234, "largest_difference": 2.34e-7}}}


@pytest.fixture
def of_a_run(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    return card.render(describe(**facts.origin(tmp_path)))


def section(text: str, title: str) -> str:
    return re.search(rf"## {title}\n\n(.*?)(\n\n## |\Z)", text, re.S).group(1)


def test_figures_stand_beside_those_of_the_untrained_network(of_a_run):
    found = section(of_a_run, "How well it does").replace("\N{NO-BREAK SPACE}", " ")
    assert "| Pairs judged right | 91.5 % | 50.2 % | 50.0 % | on 400 clips |" in found


def test_figures_of_other_parameters_say_so(of_a_run):
    found = section(of_a_run, "How well it does")
    assert "clustering was measured on other parameters than these, at step 1000" in found
    assert "avc was measured" not in found
    assert "| NMI of \\| clusters (other parameters) | 0.432 | — | — | — |" in found
    assert "clustering: fewer classes" in found


def test_training_is_told_without_paths_of_the_machine(of_a_run):
    found = section(of_a_run, "What it was trained on")
    for line in ("- name of the data's folder: of_birds", "- clips: 2,000", "- clips by split: train 1,600, heldout 400",
                 "- steps: 1,200 of 1,500", "- pairs of frame and sound seen: 307,200, at step 1,200"):
        assert line in found
    assert "/home" not in of_a_run


def test_inputs_have_shapes_dtypes_and_units_and_only_those_that_are_needed(of_a_run):
    found = section(of_a_run, "What goes in")
    assert "| waveform | [batch, 4000] | int16 | full scale 32768, 8000 Hz |" in found
    assert "| frame | [batch, 32, 32, 3] | uint8 | RGB, 0..255 |" in found
    assert "label" not in found
    assert "0.5 s of sound" in found


def test_each_format_tells_its_size_its_script_and_how_it_was_checked(of_a_run):
    found = section(of_a_run, "How to use it")
    assert "38.0 MB" in found and "1.2 kB" in found
    assert "python use_safetensors.py results inputs.npz" in found and "python use_stablehlo.py results inputs.npz" in found
    assert "same to the last bit" in found and "by at most 2.3e-07" in found
    assert "savedmodel" not in found


def test_the_example_of_inputs_runs(of_a_run, tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", of_a_run, re.S).group(1), {})
    made = dict(np.load("inputs.npz"))
    assert {name: (value.shape, value.dtype.name) for name, value in made.items()} == {
        "frame": ((2, 32, 32, 3), "uint8"), "waveform": ((2, 4000), "int16")}


def test_what_nobody_knows_is_called_unknown(of_a_run):
    text = card.render(describe() | {"step": 0})
    assert section(text, "What it was trained on").startswith("Unknown")
    assert section(text, "How well it does").startswith("Unknown")
    assert "- steps of training: unknown" in text
    assert list(json.loads(re.search(r"```json\n(.*)\n```", section(text, "Config"), re.S).group(1))) == ["system", "audio"]
    for known_or_not in (text, of_a_run):
        assert "To be filled in" in section(known_or_not, "Licence")


def test_a_run_that_stopped_early_leaves_unknowns(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    assert "run" not in facts.origin(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"data": {"clips": 5}}))
    found = section(card.render(describe(**facts.origin(tmp_path))), "What it was trained on")
    assert "- clips: 5" in found and "- pairs of frame and sound seen: unknown" in found


def test_where_a_converted_model_comes_from_is_told(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"source": {"file": "openl3.h5"}, "note": "a <b>\n| c"}))
    found = section(card.render(describe(**facts.origin(tmp_path))), "What it was trained on")
    assert '- source: {"file": "openl3.h5"}' in found
    assert "- note: a &lt;b&gt; \\| c" in found


def test_the_paper_and_the_parameters_are_named(of_a_run):
    found = section(of_a_run, "What it is")
    assert "arXiv:1705.08168" in found and SHA256 in found
