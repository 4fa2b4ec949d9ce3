"""The files that a user means by a name, a folder or a glob."""

import os

import pytest

from avc_jax import errors
from avc_jax.data.inputs import find_inputs


def test_inputs_are_files_folders_and_globs_each_once(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("deep/z.mp3", "y[1].wav", "x.txt", "x.JPG"):
        (tmp_path / name).touch()
    found = find_inputs([f"{tmp_path}/y[1].wav", f"{tmp_path}/**/z.*", str(tmp_path), f"{tmp_path}/x.txt"], "audio")
    assert [os.path.relpath(path, tmp_path) for path in found] == ["y[1].wav", "deep/z.mp3", "x.txt"]
    assert [os.path.basename(path) for path in find_inputs([str(tmp_path)], "video")] == ["x.JPG"]


@pytest.mark.parametrize("one", ["none.wav", "*.wav", "."])
def test_an_input_without_files_is_missing(tmp_path, monkeypatch, one):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.MissingInputError, match=r"--inputs=.*found none"):
        find_inputs([one], "audio")
