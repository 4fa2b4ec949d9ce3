"""Disks that are full or read-only, in earnest where mounting is allowed, and by a limit on the size of files."""

import contextlib
import subprocess

import pytest
from faults import process

pytestmark = pytest.mark.slow

SMALL = "--do=limit:20000"  # enough for ledgers, not for a checkpoint
SAVE = ("--at=orbax.checkpoint:AsyncCheckpointer.save", "--nth=2")  # of step 6, when that of step 3 is finished


def command(workdir, videos, *more: str) -> tuple[str, ...]:
    return (*process.TRAIN, f"--workdir={workdir}", f"--config.data.root={videos}", *more)


def resumes(cache, args, step: int, workdir, unbroken) -> None:
    """Checks that the same command goes on from a step and ends where an unbroken run ends."""
    printed = process.run(cache, *args).printed
    assert f"Resuming at step {step}." in printed and "is not used" not in printed
    assert process.params_sha256(workdir) == process.params_sha256(unbroken)


@pytest.mark.fault("cannot_write", "no room for a checkpoint")
def test_a_save_that_keeps_failing_ends_the_run_and_the_one_before_stays(cache, videos, unbroken, tmp_path):
    args = command(tmp_path, videos)
    printed = process.run(cache, *args, inject=(*SAVE, SMALL), expect=74).printed
    assert printed.count("Trying again in") == 3 and "Earlier checkpoints are untouched" in printed
    assert "Traceback" not in printed
    assert process.finished_steps(tmp_path) == [3]
    resumes(cache, args, 3, tmp_path, unbroken)


@pytest.mark.fault("cannot_write", "no room for a checkpoint, with an emergency folder")
def test_the_state_goes_to_the_emergency_folder_and_is_resumed_from_there(cache, videos, unbroken, tmp_path):
    args = command(tmp_path / "run", videos, f"--config.train.emergency_folder={tmp_path / 'other'}")
    inject = (*SAVE, SMALL, "--until=avc_jax.train.emergency:Emergency.save")
    printed = process.run(cache, *args, inject=inject, expect=74).printed
    assert "is kept in" in printed and "the same command resumes from it" in printed
    assert process.finished_steps(tmp_path / "run") == [3]
    (kept,) = (tmp_path / "other").iterdir()
    (step,) = process.finished_steps(kept)
    assert step > 3
    resumes(cache, args, step, tmp_path / "run", unbroken)
    assert not list((tmp_path / "other").iterdir())  # the work directory has it now


@pytest.mark.fault("cannot_write", "room is made in time")
def test_a_save_that_fails_once_is_tried_again(cache, videos, unbroken, tmp_path):
    args = command(tmp_path, videos)
    printed = process.run(cache, *args, inject=(*SAVE, SMALL, "--until=avc_jax.train.checkpoint:Checkpoints._failed")).printed
    assert printed.count("Trying again in") == 1
    assert process.params_sha256(tmp_path) == process.params_sha256(unbroken)


@pytest.mark.fault("cannot_write", "no room for the log")
def test_a_log_that_cannot_be_written_ends_the_run(cache, videos, unbroken, tmp_path):
    args = command(tmp_path / "run", videos, f"--config.train.emergency_folder={tmp_path / 'other'}")
    inject = ("--at=avc_jax.train.writers:JsonlWriter.write_scalars", "--nth=5", "--do=limit:700",
              "--until=avc_jax.train.emergency:Emergency.save")
    printed = process.run(cache, *args, inject=inject, expect=74).printed
    assert "Metrics cannot be written to" in printed and "File too large" in printed and "Traceback" not in printed
    resumes(cache, args, 5, tmp_path / "run", unbroken)


@pytest.mark.fault("cannot_write", "no room for records")
def test_records_that_cannot_be_written_leave_nothing_half_written(cache, videos, tmp_path):
    args = (f"--videos={videos}", f"--out={tmp_path}", "--clips_per_shard=4", "--short_side=64", "--rate_hz=8000")
    printed = process.run(cache, *args, module="avc_jax.prepare", expect=74,
                          inject=("--at=avc_jax.command:parse_flags", SMALL)).printed
    assert "cannot be written" in printed and "Traceback" not in printed
    assert not list(tmp_path.glob("*.array_record"))
    process.run(cache, *args, module="avc_jax.prepare")


@contextlib.contextmanager
def mounted(*options: str, at):
    """Something mounted, or the test skipped where that is not allowed."""
    done = subprocess.run(["mount", *options, str(at)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@pytest.mark.fault("cannot_write", "a disk that is full")
def test_a_full_disk_ends_the_run_and_the_checkpoint_before_stays(cache, videos, unbroken, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=8m", "avc_jax_test", at=disk):
        args = command(disk / "run", videos)
        with process.Command(cache, *args, inject=(*SAVE, "--do=SIGSTOP")) as running:
            process.wait_until(running.is_stopped, "save")
            filler = disk / "filler"
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            running.resume()
            ended = running.end()
        assert ended.code == 74 and "No space left on device" in ended.printed, ended.printed
        assert "Traceback" not in ended.printed
        assert process.finished_steps(disk / "run") == [3]
        filler.unlink()
        resumes(cache, args, 3, disk / "run", unbroken)


@pytest.mark.fault("cannot_write", "a disk that became read-only")
def test_a_read_only_disk_ends_the_run_and_the_checkpoint_before_stays(cache, videos, unbroken, tmp_path):
    args, checkpoints = command(tmp_path, videos), tmp_path / "checkpoints"
    with process.Command(cache, *args, inject=(*SAVE, "--do=SIGSTOP")) as running:
        process.wait_until(running.is_stopped, "save")
        with mounted("--bind", str(checkpoints), at=checkpoints):
            subprocess.run(["mount", "-o", "remount,bind,ro", str(checkpoints)], check=True)
            running.resume()
            ended = running.end()
    assert ended.code == 74 and "ead-only file system" in ended.printed, ended.printed
    assert process.finished_steps(tmp_path) == [3]
    resumes(cache, args, 3, tmp_path, unbroken)
