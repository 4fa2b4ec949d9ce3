"""Exports of a small model: that they hold, and that a wrong one is noticed and leaves nothing."""

import dataclasses
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny

from avc_jax import errors, export, systems
from avc_jax import model as models
from avc_jax.exporting import check
from avc_jax.exporting.check import Trial


def make(**changes) -> models.Model:
    config = tiny.config(**changes)
    system = systems.make(config)
    return models.Model(config, system, tiny.variables(system), step=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder that no run wrote. Do not write into it."""
    return models.save(tmp_path_factory.mktemp("model") / "folder", make())


def command(folder, out, *flags) -> int:
    return export.main(["export", f"--checkpoint={folder}", f"--out={out}", "--formats=" + ",".join(export.FORMATS), *flags])


def off_by_little(variables):
    """The variables with one number of one kernel changed."""
    changed = jax.tree.map(np.array, jax.device_get(variables))
    kernel = changed["params"]["audio"]["block1"]["conv1"]["kernel"]
    kernel[0, 0, 0, 0] += 0.01
    return changed


@pytest.mark.parametrize(("name", "earlier"), [
    ("orbax", False), ("safetensors", True), ("stablehlo", False), pytest.param("savedmodel", True, marks=pytest.mark.slow)])
def test_a_wrong_file_is_noticed_and_leaves_all_as_it_was(folder, tmp_path, monkeypatch, capsys, name, earlier):
    form = export._module(name)
    write = form.write
    monkeypatch.setattr(form, "write", lambda folder, model, programs: write(
        folder, dataclasses.replace(model, variables=off_by_little(model.variables)), programs))
    out = tmp_path / "out"
    if earlier:
        models.save(out, make())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert command(folder, out, f"--formats={name}") == errors.CannotWriteError.exit_code
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"] * earlier
    assert f"use_{name}.py" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("changes", [dict(system__head="ave"), dict(train__precision="bfloat16", system__conv_bias=True)],
                         ids=["ave", "bfloat16"])
def test_other_networks_export_too(tmp_path, changes):
    models.save(tmp_path / "model", make(**changes))
    out = export.export(tmp_path / "model", tmp_path / "out")
    assert {path.name for path in out.iterdir()} >= {"variables", "variables.safetensors", "stablehlo", "savedmodel", "README.md"}


@pytest.mark.parametrize(("flag", "said"), [("--formats=safetensor", "Did you mean safetensors?"), ("--formats=", "empty")])
def test_unknown_formats_are_named(folder, tmp_path, capsys, flag, said):
    assert command(folder, tmp_path / "out", flag) == errors.ConfigError.exit_code
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path, folder):
    monkeypatch.delitem(sys.modules, "avc_jax.exporting.savedmodel", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(errors.ConfigError, match="savedmodel needs the package tensorflow"):
        export.export(folder, tmp_path / "out", ["savedmodel"])


# What scripts beside a format may do wrong, and what is said of it.
WRONG = {
    "lose": ("np.savez(results, score=score)", "gives score; expected audio, score"),
    "add": ("np.savez(results, audio=audio, score=score, video=audio)", "expected audio, score"),
    "reshape": ("np.savez(results, audio=audio[:1], score=score)", "of shape"),
    "differ": ("np.savez(results, audio=audio, score=score * (1 + 2e-5))", "score that differs"),
    "give no number": ("np.savez(results, audio=audio * np.nan, score=score)", "audio that differs"),
    "crash": ("raise ValueError('no such thing')", "no such thing"),
    "need avc_jax": ("import avc_jax", "avc_jax"),
}
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
folder, *paths = sys.argv[1:]
for path in map(Path, paths):
    results = Path(folder) / path.name
    audio = np.load(path)["waveform"].astype("float32")
    score = audio[:, 0] * np.float32(FACTOR)
    SAVE
"""


def read_back(folder, save: str, factor: float = 1.0) -> float:
    (folder / "use_fake.py").write_text(SCRIPT.replace("SAVE", save).replace("FACTOR", repr(factor)))
    form = SimpleNamespace(__name__="formats.fake", HOLDS="programs", WITHOUT=("avc_jax",))
    trials = []
    for rows in (1, 3):
        waveform = np.arange(1, 1 + 4 * rows, dtype=np.int16).reshape(rows, 4)
        audio = waveform.astype(np.float32)
        trials.append(Trial({"waveform": waveform}, {"audio": audio, "score": audio[:, 0]}))
    return check.read_back(form, folder, SimpleNamespace(config=tiny.config(), variables={}), trials)


@pytest.mark.parametrize(("save", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_program_is_refused(tmp_path, save, said):
    with pytest.raises(errors.CannotWriteError, match=said):
        read_back(tmp_path, save)


def test_the_largest_difference_is_a_share_of_the_peak(tmp_path):
    right = "np.savez(results, audio=audio, score=score)"
    assert read_back(tmp_path, right) == 0
    assert read_back(tmp_path, right, factor=1 + 2**-18) == pytest.approx(2**-18)
