"""A file that is gone is told from a folder that is away, which is waited for."""

import dataclasses
import os
import shutil
import threading
import time

import numpy as np
import pytest
from data.test_decoders import FORM, request

from avc_jax import errors
from avc_jax.data import limits, presence, sources


@pytest.fixture
def patience():
    """A function that sets how many seconds a source is waited for."""
    before = limits.current()
    yield lambda seconds: limits.use(dataclasses.replace(before, patience_s=seconds))
    limits.use(before)


@pytest.fixture
def folder(tmp_path):
    """Two folders of eight files, one of a single file, and a link to a folder of four."""
    for name in [f"{part}/{number}" for part, count in (("a", 8), ("b", 8), ("lone", 1), ("disk", 4)) for number in range(count)]:
        path = tmp_path / ("elsewhere" if name.startswith("disk") else "root") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "root" / "disk").symlink_to(tmp_path / "elsewhere" / "disk")
    return tmp_path / "root"


def neighbours(root):
    names = [path.relative_to(root).as_posix() for part in ("a", "b", "lone", "disk") for path in (root / part).iterdir()]
    found = presence.Neighbours(root, names, lambda name: [root / name])
    found.has_read = True
    return found


@pytest.mark.parametrize(("lost", "asked", "is_away"), [
    ((), "a/3", False),
    (("a/3",), "a/3", False),
    (("a/0", "a/3", "a/4"), "a/3", False),
    (("lone",), "lone/0", False),
    (("a",), "a/0", True),
    (("a",), "a/4", True),
    (("a",), "a/7", True),
    (("a",), "b/0", False),
    (("b",), "b/7", True),
    (("disk",), "disk/0", True),
    (("disk",), "disk/1", True),
    (("disk",), "disk/3", True),
    (("../root",), "lone/0", True),
])
def test_folder_is_away_where_the_files_beside_are_gone_too(folder, lost, asked, is_away):
    beside = neighbours(folder)
    for name in lost:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    assert bool(beside.why_away(asked)) is is_away


def test_folder_that_is_emptied_is_away(folder):
    beside = neighbours(folder)
    for path in (folder / "a").iterdir():
        path.unlink()
    assert "files beside it" in beside.why_away("a/3")


def test_of_two_files_both_have_to_be_gone(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    (tmp_path / "other").write_text("")
    beside = presence.Neighbours(tmp_path, "ab", lambda name: [tmp_path / name])
    beside.has_read = True
    (tmp_path / "a").unlink()
    assert beside.why_away("a") == ""
    (tmp_path / "b").unlink()
    assert "beside it" in beside.why_away("a")


def test_files_that_never_were_there_are_not_away_but_their_empty_root_is(folder):
    beside = presence.Neighbours(folder, [f"a/{number}" for number in range(8)], lambda name: [folder / f"{name}.npz"])
    assert beside.why_away("a/3") == ""
    shutil.rmtree(folder)
    folder.mkdir()
    assert "is gone" in beside.why_away("a/3")


def test_reading_waits_for_a_folder_and_gives_the_same_then(videos, tmp_path, patience, caplog):
    patience(60.0)
    root = shutil.copytree(videos, tmp_path / "videos")
    source = sources.open_folder(str(root), "", (1.0, 0.0, 0.0))
    asked = request()._replace(clips=np.array([2]))
    expected, there = source.read(asked, FORM), asked.waveform.copy()
    os.rename(root, tmp_path / "away")
    threading.Timer(1.5, lambda: os.rename(tmp_path / "away", root)).start()
    began, asked.waveform[:] = time.monotonic(), 0
    found = source.read(asked, FORM)
    assert time.monotonic() - began > 1.0 and not found.bad
    np.testing.assert_array_equal(found.frames, expected.frames)
    np.testing.assert_array_equal(asked.waveform, there)
    assert "is gone; waiting for it, up to 60 s." in caplog.text and "It is back after" in caplog.text


@pytest.mark.parametrize(("failures", "away", "is_read"), [
    (["unreadable"], [""], True), (["hangs"], [""], False), (["damaged"], [""], False), (["unreadable"] * 2, ["", ""], False),
    (["hangs", "damaged"], ["the disk is gone", ""], True),
    (["hangs", "damaged", "damaged"], ["the disk is gone", "", ""], False),
    (["unreadable", "unreadable", "hangs"], ["", "the disk is gone", ""], True)])
def test_source_that_is_back_when_somebody_looks_is_read_once_more(patience, monkeypatch, failures, away, is_read):
    patience(60.0)
    monkeypatch.setattr(presence, "_POLL_S", 0.01)
    left, said = list(failures), iter(away)

    def read():
        if left:
            raise errors.BadMedia(left.pop(0), "")
        return "read"

    if is_read:
        assert presence.patiently(read, lambda: next(said)) == "read"
    else:
        with pytest.raises(errors.BadMedia):
            presence.patiently(read, lambda: next(said))


def test_patience_ends(videos, tmp_path, patience):
    patience(0.5)
    source = sources.open_folder(str(shutil.copytree(videos, tmp_path / "videos")), "", (1.0, 0.0, 0.0))
    shutil.rmtree(source.root)
    with pytest.raises(errors.MissingInputError, match=r"in 0\.5 s \(config\.data\.patience_s\)"):
        source.read(request(), FORM)


def test_one_file_that_is_gone_is_bad_at_once(videos, tmp_path):
    source = sources.open_folder(str(shutil.copytree(videos, tmp_path / "videos")), "", (1.0, 0.0, 0.0))
    (source.root / source.clips[0].path).unlink()
    assert source.read(request(), FORM).bad[0].kind == "unreadable"
