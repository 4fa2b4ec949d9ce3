"""Bad input ends with its exit code and a message a newcomer understands, and loses nothing."""

import json
import os
import shutil

import jax
import media
import numpy as np
import orbax.checkpoint as ocp
import pytest
from end_to_end import command


@pytest.mark.parametrize(("args", "code", "words"), [
    (("--config.train.stps=3",), 64, ("config.train.stps", "Did you mean config.train.steps?")),
    (("--config.train.steps=many",), 64, ("config.train.steps", "'many'", "int")),
    (("--config.optimizer.schedule=cosin",), 64, ("optimizer.schedule", "'cosin'", "cosine")),
    (("--config.train.batch_size=0",), 64, ("config.train.batch_size", "2 to")),
    (("--config.data.pairs_per_visit=3",), 64, ("config.train.batch_size", "multiple of")),
    (("--config.mesh.fsdp=3",), 64, ("config.mesh", "number of devices")),
    (("--wokdir=x",), 64, ("wokdir", "workdir")),
    (("stray",), 64, ("stray",)),
    (("--mode=dance",), 64, ("mode", "evaluate")),
    (("--config.data.root=/there/is/no/such/folder",), 66, ("config.data.root", "nothing there")),
    (("--config.data.manifest=none.csv",), 66, ("config.data.manifest",)),
    (("--config.data.split=tain",), 64, ("'tain'", "train")),
])
def test_bad_flags_are_named(videos, cache, tmp_path, args, code, words):
    printed = command.run(cache, *command.TINY, f"--workdir={tmp_path / 'w'}", f"--config.data.root={videos}", *args, expect=code)
    for word in words:
        assert word in printed
    assert "Traceback" not in printed


def test_a_missing_config_file_is_named(cache, tmp_path):
    assert "configs/flicker.py" in command.run(cache, "--config=configs/flicker.py", f"--workdir={tmp_path}", expect=66)


def test_an_empty_folder_says_what_was_expected(cache, tmp_path):
    (tmp_path / "empty").mkdir()
    printed = command.run(cache, *command.TINY, f"--workdir={tmp_path / 'w'}", f"--config.data.root={tmp_path / 'empty'}",
                          expect=66)
    assert ".mp4" in printed


def test_a_folder_without_one_usable_file_says_why(cache, tmp_path):
    root = tmp_path / "bad"
    root.mkdir()
    for index in range(4):
        (root / f"{index}.mp4").write_text("this is no video")
    printed = command.run(cache, *command.TINY, f"--workdir={tmp_path / 'w'}", f"--config.data.root={root}",
                          "--config.data.split=all", expect=65)
    assert "unusable" in printed and "unreadable" in printed and ".mp4" in printed


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_workdir_by_permission(videos, cache, tmp_path):
    tmp_path.chmod(0o500)
    command.run(cache, *command.TINY, f"--workdir={tmp_path / 'w'}", f"--config.data.root={videos}", expect=74)


def test_an_unwritable_workdir_is_named(videos, cache, tmp_path):
    (tmp_path / "file").write_text("")
    printed = command.run(cache, *command.TINY, f"--workdir={tmp_path / 'file' / 'w'}", f"--config.data.root={videos}", expect=74)
    assert "--workdir" in printed


def test_the_workdir_of_another_config_is_refused(finished, videos, cache):
    before = command.results(finished)
    printed = command.run(cache, *command.TINY, f"--workdir={finished}", f"--config.data.root={videos}",
                          "--config.train.seed=7", expect=64)
    assert "config.train.seed: was 0, is 7" in printed
    assert command.results(finished) == before


def test_a_folder_that_changed_since_the_run_began_is_refused(finished, videos, cache, tmp_path):
    shutil.copytree(videos, tmp_path / "videos")
    media.tone_video(tmp_path / "videos" / "new.mp4", seconds=2.5)
    printed = command.run(cache, *command.TINY, f"--workdir={finished}", f"--config.data.root={tmp_path / 'videos'}", expect=64)
    assert "files or splits were added" in printed


def test_evaluating_an_empty_workdir_says_to_train_first(videos, cache, tmp_path):
    printed = command.run(cache, *command.TINY, f"--workdir={tmp_path}", f"--config.data.root={videos}",
                          "--mode=evaluate", expect=66)
    assert "train first" in printed


def write_bad_files(folder) -> dict[str, str]:
    """One file of each kind that cannot be used: name -> kind in the ledger."""
    folder.mkdir()
    whole = media.tone_video(folder.parent / "whole.mp4", seconds=2.5)
    media.truncated(whole, folder / "truncated.mp4", 0.6)
    whole.unlink()
    media.text_file(folder / "text.mp4")
    media.empty_file(folder / "empty.webm")
    media.tone_video(folder / "sound_only.mp4", video=False, seconds=2.5).rename(folder / "sound_only.m4v")
    media.quarters_video(folder / "picture_only.mp4")
    media.short_clip(folder / "short.mkv")
    media.tone_video(folder / "silent.mp4", amplitude=0.0, seconds=2.5)
    return {"truncated.mp4": "unreadable", "text.mp4": "unreadable", "empty.webm": "unreadable", "sound_only.m4v": "no_video",
            "picture_only.mp4": "no_audio", "short.mkv": "too_short", "silent.mp4": "silent"}


def write_odd_files(folder) -> None:
    """Files that are unusual and have to be used all the same."""
    folder.mkdir()
    media.tone_video(folder / "8kHz.mp4", rate_hz=8000, seconds=2.5)
    media.tone_video(folder / "96kHz.mp4", rate_hz=96000, seconds=2.5)
    media.tone_video(folder / "surround.mp4", layout="5.1", seconds=2.5)
    media.flash_and_click(folder / "rotated.mp4", rotation=90, events_s=[1.0], seconds=2.5)
    media.tone_video(folder / "capital.mp4", seconds=2.5).rename(folder / "CAPITAL.MP4")


@pytest.mark.slow
@pytest.mark.parametrize("pairing", ["independent", "shared"])
def test_bad_files_go_to_the_ledger_and_odd_ones_are_used(videos, cache, tmp_path, pairing):
    root = tmp_path / "videos"
    shutil.copytree(videos, root)
    bad = write_bad_files(root / "bad")
    write_odd_files(root / "odd")
    workdir = tmp_path / "w"
    command.run(cache, *command.TINY, f"--workdir={workdir}", f"--config.data.root={root}", "--config.data.split=all",
                f"--config.data.pairing={pairing}", "--config.train.steps=12", "--config.data.quarantine_budget=0.9")
    ledger = [json.loads(line) for line in (workdir / "quarantine.jsonl").read_text().splitlines()]
    assert {line["path"]: line["kind"] for line in ledger} == {f"bad/{name}": kind for name, kind in bad.items()}
    assert all(len(line["reason"]) > 10 for line in ledger)


def test_too_many_bad_files_stop_the_run_with_the_worst_reasons(videos, cache, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(videos, root)
    write_bad_files(root / "bad")
    printed = command.run(cache, *command.TINY, f"--workdir={tmp_path / 'w'}", f"--config.data.root={root}",
                          "--config.data.split=all", "--config.train.steps=40", expect=65)
    assert "unusable" in printed and "config.data.quarantine_budget" in printed and "e.g. bad/" in printed


@pytest.mark.slow
def test_a_run_that_diverges_stops_before_anything_bad_is_saved(videos, cache, tmp_path):
    printed = command.run(cache, *command.TINY, f"--workdir={tmp_path}", f"--config.data.root={videos}",
                          "--config.optimizer.name=sgd", "--config.optimizer.lr=1000.0", "--config.train.steps=200",
                          "--config.train.checkpoint_every=10",
                          "--config.train.nonfinite_budget=2", expect=70)
    assert "not finite" in printed
    assert "config.optimizer.lr" in printed
    for saved in (path for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()):
        leaves = jax.tree.leaves(ocp.StandardCheckpointer().restore(saved / "default")["params"])
        assert all(np.isfinite(leaf).all() for leaf in leaves)
