"""Folders that vanish and shards that are cut short or overwritten are waited for, and nothing of them is ever taken for data."""

import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from faults import process

_WAITS = r"waiting for it"
_PATIENCE_S = 3


def ledger(workdir) -> str:
    path = workdir / "quarantine.jsonl"
    return path.read_text() if path.exists() else ""


@pytest.fixture
def root(videos, tmp_path):
    return shutil.copytree(videos, tmp_path / "videos")


@pytest.mark.fault("source", "a folder that vanishes and returns")
@pytest.mark.slow
def test_folder_that_returns_costs_nothing_but_time(cache, root, unbroken, tmp_path):
    with process.Command(cache, *process.TRAIN, f"--workdir={tmp_path / 'w'}", f"--config.data.root={root}") as running:
        running.wait_for("training on")
        root.rename(tmp_path / "away")
        running.wait_for(_WAITS)
        time.sleep(2.0)
        (tmp_path / "away").rename(root)
        running.wait_for("It is back")
        ended = running.end()
    assert ended.code == 0, ended.printed
    assert process.params_sha256(tmp_path / "w") == process.params_sha256(unbroken)
    assert ledger(tmp_path / "w") == ""


@pytest.mark.fault("source", "a folder that vanishes for ever")
@pytest.mark.fault("source", "SIGTERM while a folder is waited for")
@pytest.mark.slow
def test_folder_that_does_not_return_ends_the_run_and_the_next_one_resumes(cache, root, unbroken, tmp_path, note):
    args = (*process.TRAIN, f"--workdir={tmp_path / 'w'}", f"--config.data.root={root}")
    with process.Command(cache, *args, f"--config.data.patience_s={_PATIENCE_S}") as running:
        running.wait_for("training on")
        root.rename(tmp_path / "away")
        ended = running.end()
    assert ended.code == 66 and f"{root} is gone" in ended.printed and "config.data.patience_s" in ended.printed, ended.printed
    assert ledger(tmp_path / "w") == ""
    (tmp_path / "away").rename(root)
    with process.Command(cache, *args) as running:
        running.wait_for("training on")
        root.rename(tmp_path / "away")
        running.wait_for(_WAITS)
        running.send(signal.SIGTERM)
        ended = running.end()
    assert ended.code == 75, ended.printed
    note(f"ended {ended.seconds:.0f} s after SIGTERM")
    (tmp_path / "away").rename(root)
    process.run(cache, *args)
    assert process.params_sha256(tmp_path / "w") == process.params_sha256(unbroken)
    assert ledger(tmp_path / "w") == ""


@pytest.mark.fault("source", "a shard that is cut short, and whole again")
@pytest.mark.fault("source", "a shard that is overwritten")
@pytest.mark.slow
def test_shard_that_is_not_what_it_was_is_waited_for(cache, videos, tmp_path):
    records = tmp_path / "records"
    process.run(cache, f"--videos={videos}", f"--out={records}", "--rate_hz=8000", "--short_side=40", "--clips_per_shard=3",
                module="avc_jax.prepare")
    shards = {path: path.read_bytes() for path in records.glob("*.array_record*")}
    # More steps than are read ahead.
    args = (*process.TRAIN, "--config.data.source=records", f"--config.data.root={records}", "--config.train.steps=30",
            "--config.train.checkpoint_every=10", "--config.train.log_every=10")
    with process.Command(cache, *args, f"--workdir={tmp_path / 'cut'}") as running:
        running.wait_for("training on")
        for path, content in shards.items():
            with open(path, "r+b") as file:
                file.truncate(len(content) // 3)
        running.wait_for(_WAITS)
        for path, content in shards.items():
            path.write_bytes(content)
        running.wait_for("It is back")
        assert running.end().code == 0, running.printed

    workdir, rng = tmp_path / "overwritten", np.random.default_rng(0)
    with process.Command(cache, *args, f"--workdir={workdir}", f"--config.data.patience_s={_PATIENCE_S}",
                         inject=("--at=avc_jax.train.loop:_compile", "--do=sleep", "--after=6")) as running:
        process.wait_until(lambda: any("array_record" in name for name in open_files(running.process.pid)), "open shard")
        time.sleep(1.0)
        for path, content in shards.items():
            with open(path, "r+b") as file:
                file.write(rng.bytes(len(content)))
        ended = running.end()
    assert ended.code == 66 and "was written to while it was in use" in ended.printed, ended.printed
    saved = re.search(r"Saved at step (\d+); the same command resumes", ended.printed)  # what had been read ahead was trained on
    assert saved and process.finished_steps(workdir)[-1] == int(saved[1]), ended.printed
    for path, content in shards.items():
        path.write_bytes(content)
    process.run(cache, *args, f"--workdir={workdir}")
    assert process.params_sha256(workdir) == process.params_sha256(tmp_path / "cut")
    assert ledger(workdir) == ledger(tmp_path / "cut") == ""


def open_files(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(path))
    return found
