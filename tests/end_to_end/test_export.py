"""A run that is handed out: in every format, described, and used by people without avc_jax."""

import json
import subprocess
import sys

import numpy as np
import pytest
from end_to_end import command, here

from avc_jax import model

EXPORT = "avc_jax.export"


@pytest.fixture(scope="module")
def exported(finished, cache, tmp_path_factory):
    """(the folder, what the command printed) of a run exported in every format."""
    out = tmp_path_factory.mktemp("exported") / "model"
    return out, command.run(cache, f"--checkpoint={finished}", f"--out={out}", module=EXPORT)


def run_alone(*args, cwd, without=("avc_jax",)) -> str:
    """Runs Python as somebody does who does not have some modules."""
    code = (f"import runpy, sys; sys.modules.update(dict.fromkeys({without!r})); del sys.argv[0]; "
            "runpy.run_path(sys.argv[0], run_name='__main__')")
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], cwd=cwd, capture_output=True, text=True,
                          check=True).stdout


@pytest.mark.slow
def test_every_format_agrees_with_the_live_model(exported, finished):
    out, printed = exported
    description = json.loads((out / "model.json").read_text())
    assert description["params_sha256"] == command.results(finished)["train"]["params_sha256"]
    assert sorted(description["formats"]) == ["orbax", "safetensors", "savedmodel", "stablehlo"]
    for name, found in description["formats"].items():
        assert 0 <= found["largest_difference"] <= 1e-5
        assert found["bytes"] > 4 * description["parameters"]
        assert f"{name}: " in printed
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "model.json", "savedmodel", "stablehlo", "use_orbax.py", "use_safetensors.py", "use_savedmodel.py",
        "use_stablehlo.py", "variables", "variables.safetensors"]
    assert not list(out.parent.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "without"), [("stablehlo", ("avc_jax", "flax", "tensorflow")),
                                               ("savedmodel", ("avc_jax", "jax"))])
def test_somebody_without_avc_jax_embeds_sounds_alone(exported, finished, tmp_path, name, without):
    out, _ = exported
    net = model.load(finished)
    sounds = np.random.default_rng(1).integers(-20000, 20000, (5, *net.system.features["waveform"].shape)).astype(np.int16)
    np.savez(tmp_path / "sounds.npz", waveform=sounds)
    (tmp_path / "results").mkdir()
    run_alone(out / f"use_{name}.py", "results", "sounds.npz", cwd=tmp_path, without=without)
    found = dict(np.load(tmp_path / "results" / "sounds.npz"))
    expected = net.embed(waveform=sounds)["audio"]
    assert list(found) == ["audio"]
    np.testing.assert_allclose(found["audio"], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_the_card_says_what_the_run_knows(exported, finished):
    out, _ = exported
    card, results = (out / "README.md").read_text(), command.results(finished)
    assert results["train"]["params_sha256"] in card
    assert f"- clips: {results['data']['clips']}\n" in card
    assert f"- pairs of frame and sound seen: {results['train']['pairs']}, at step 60\n" in card
    assert str(finished) not in card and results["data"]["root"] not in card
    for row in (row for found in results["evaluate"].values() for row in found.get("rows", [])):
        assert f"| {row['name']} |" in card


@pytest.mark.slow
def test_an_export_of_an_export_knows_the_run(exported, tmp_path):
    out, _ = exported
    for _ in range(2):  # the second replaces the first
        here.call(EXPORT, f"--checkpoint={out}", f"--out={tmp_path / 'again'}", "--formats=safetensors")
    first, second = (json.loads((folder / "model.json").read_text()) for folder in (out, tmp_path / "again"))
    assert second.pop("formats").keys() == {"safetensors"} != first.pop("formats").keys()
    assert second == first
    assert (tmp_path / "again" / "variables.safetensors").read_bytes() == (out / "variables.safetensors").read_bytes()
    printed = here.call(EXPORT, f"--checkpoint={tmp_path / 'again'}", f"--out={tmp_path / 'more'}", expect=66)
    assert "without the format orbax" in printed


def test_an_export_refuses_to_replace_what_is_no_export(finished, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    printed = here.call(EXPORT, f"--checkpoint={finished}", f"--out={tmp_path}", expect=64)
    assert "no model folder" in printed and (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_export_of_nothing_is_a_clear_error(tmp_path):
    printed = here.call(EXPORT, f"--checkpoint={tmp_path}", f"--out={tmp_path / 'x'}", expect=66)
    assert "config.json" in printed
