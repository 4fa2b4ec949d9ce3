"""SIGTERM at every stage of a run."""

import re
import signal

import pytest
from faults import process

EVALUATING = ("--config.evaluators.avc=every", "--config.train.evaluate_every=5", "--config.evaluate.pairs_on_page=0")


@pytest.mark.slow
@pytest.mark.fault("sigterm", "during compile, first step, save, evaluation and last evaluation, one after the other")
def test_a_run_that_is_stopped_at_every_stage_ends_where_an_unbroken_one_ends(cache, videos, unbroken, tmp_path):
    args = (*process.TRAIN, *EVALUATING, f"--workdir={tmp_path}", f"--config.data.root={videos}")

    def stop_at(place: str, *options: str) -> str:
        return process.run(cache, *args, inject=(f"--at={place}", "--do=SIGTERM", *options), expect=75, limit_s=120).printed

    # Before the first step there is nothing to save.
    printed = stop_at("avc_jax.train.loop:_compile", "--after=0.1")
    assert "Stopped by SIGTERM" in printed and "the same command goes on" in printed
    assert not process.finished_steps(tmp_path)
    assert "Saved at step 1; the same command resumes." in stop_at("avc_jax.train.step:wait_for_devices")
    # Step 3 is being saved because it is its turn; the signal may find the next step under way.
    printed = stop_at("avc_jax.train.checkpoint:Checkpoints._complete")
    assert "Resuming at step 1." in printed and re.search("Saved at step [34]; the same command resumes.", printed), printed
    printed = stop_at("avc_jax.evaluators.avc:AVC.__call__")
    assert "Saved at step 5; the same command resumes." in printed
    # The evaluation of step 5 is made up for, the next one is the last.
    printed = stop_at("avc_jax.evaluators.avc:AVC.__call__", "--nth=2")
    assert "Held-out AVC accuracy at step 5" in printed
    assert "Resuming at step 5." in printed and "Saved at step 9, the last; the same command goes on with the" in printed
    printed = process.run(cache, *args).printed
    assert "Resuming at step 9." in printed and "Held-out AVC accuracy at step 9" in printed
    assert "Compiled the step" not in printed
    assert process.params_sha256(tmp_path) == process.params_sha256(unbroken)


@pytest.mark.fault("sigterm", "while the main thread is in compiled code for longer than a scheduler waits")
def test_a_signal_during_a_long_compilation_ends_the_run_at_once(cache, videos, tmp_path, note):
    args = (*process.TRAIN, f"--workdir={tmp_path}", f"--config.data.root={videos}")
    with process.Command(cache, *args, inject=("--at=avc_jax.train.loop:_compile", "--do=busy", "--after=600")) as running:
        process.wait_until(lambda: (tmp_path / "goodput.jsonl").exists(), "ledger")  # written just before
        running.send(signal.SIGTERM)
        ended = running.end()
    assert ended.code == 75 and "Stopped by SIGTERM, with nothing to save" in ended.printed, ended.printed
    note(f"{ended.seconds:.0f} s")
