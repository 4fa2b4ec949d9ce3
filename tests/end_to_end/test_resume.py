"""A run that is killed, stopped or damaged ends where an unbroken run ends, bit for bit."""

import random
import signal
import time

import pytest
from end_to_end import command

STEPS = ("--config.train.steps=60", "--config.train.checkpoint_every=7", "--config.train.evaluate_every=20")


def wait_for_step(process, step: int) -> None:
    """Reads the run's output until it has reported a step of at least `step`."""
    for line in process.stdout:
        if line.startswith("step ") and int(line.split()[1].split("/")[0]) >= step:
            return
    raise AssertionError(f"the run ended before step {step}")


@pytest.mark.slow
def test_three_kills_at_random_moments_change_nothing(finished, videos, cache, tmp_path):
    args = (*command.TINY, *STEPS, f"--workdir={tmp_path}", f"--config.data.root={videos}")
    draw = random.Random(0)
    for step in (5, 20, 35):
        process = command.start(cache, *args)
        wait_for_step(process, step)
        time.sleep(draw.uniform(0.0, 0.3))
        process.kill()
        process.communicate()
    command.run(cache, *args)
    assert command.results(tmp_path)["train"]["params_sha256"] == command.results(finished)["train"]["params_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_says_so_and_resumes(finished, videos, cache, tmp_path, number):
    args = (*command.TINY, *STEPS, f"--workdir={tmp_path}", f"--config.data.root={videos}")
    process = command.start(cache, *args)
    wait_for_step(process, 10)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 75, printed
    assert "Saved at step" in printed and "the same command resumes" in printed
    assert "Resuming at step" in command.run(cache, *args)
    assert command.results(tmp_path)["train"]["params_sha256"] == command.results(finished)["train"]["params_sha256"]


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_named_and_the_previous_one_used(finished, videos, cache, tmp_path):
    args = (*command.TINY, f"--workdir={tmp_path}", f"--config.data.root={videos}", "--config.train.checkpoint_every=7")
    command.run(cache, *args, "--config.train.steps=21")
    victim = max((tmp_path / "checkpoints" / "21").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 4
    victim.write_bytes(content)
    printed = command.run(cache, *args, "--config.train.steps=60")
    assert "Checkpoint 21 is not used" in printed and victim.name in printed and "Resuming at step 14" in printed
    assert command.results(tmp_path)["train"]["params_sha256"] == command.results(finished)["train"]["params_sha256"]
