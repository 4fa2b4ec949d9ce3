"""What befalls one of two processes, and what the other makes of it."""

import signal
import time

import pytest
from faults import process, several
from faults.several import said

# Limits that tests can wait for.
LIMITS = ("--config.processes.roll_call_s=60", "--config.processes.heartbeat_s=10")
WATCHDOG_S = 45  # more than it takes to start and to compile on a busy machine
PLACES = {"compile": "avc_jax.train.loop:_compile", "first step": "avc_jax.train.step:wait_for_devices",
          "evaluation": "avc_jax.evaluators.avc:AVC.__call__", "save": "avc_jax.train.checkpoint:Checkpoints.save"}
EVALUATING = ("--config.evaluators.avc=every", "--config.train.evaluate_every=4", "--config.evaluate.pairs_on_page=0")


@pytest.fixture
def args(videos, tmp_path):
    return (*process.TRAIN, *LIMITS, f"--workdir={tmp_path}", f"--config.data.root={videos}")


@pytest.fixture(scope="session")
def unbroken_by_two(cache, videos, tmp_path_factory):
    """The digest of the parameters that two processes end with where nothing happens."""
    workdir = tmp_path_factory.mktemp("unbroken_by_two")
    found = several.run(cache, 2, *process.TRAIN, *LIMITS, f"--workdir={workdir}", f"--config.data.root={videos}")
    for text in ("Compiled the step", "Done at step 9"):
        assert [ended.printed.count(text) for ended in found] == [1, 0], said(found)
    return process.params_sha256(workdir)


def resume(cache, args, tmp_path, unbroken_by_two) -> str:
    """Runs two processes to the end; they have to end as if nothing had happened."""
    printed = several.run(cache, 2, *args)[0].printed
    assert process.params_sha256(tmp_path) == unbroken_by_two
    return printed


@pytest.mark.slow
@pytest.mark.fault("sigterm", "to one of two processes, at any of these stages")
@pytest.mark.parametrize("stage", PLACES)
def test_both_stop_at_one_step_and_resume_exactly(cache, args, tmp_path, unbroken_by_two, stage, draw, request):
    if stage != "evaluation" and not request.config.getoption("--draws", default=None):
        pytest.skip("a case of `make faults`")
    inject = {draw % 2: (f"--at={PLACES[stage]}", "--do=SIGTERM", f"--after={0.02 * draw}")}
    with several.started(cache, 2, *args, *EVALUATING, inject=inject) as running:
        found = several.ends(running)
    assert [ended.code for ended in found] == [75, 75], said(found)
    assert sum("Stopped by SIGTERM" in ended.printed for ended in found) == 1, said(found)
    printed = resume(cache, (*args, *EVALUATING), tmp_path, unbroken_by_two)
    assert ("Resuming at step" in printed) == (stage != "compile") or "No step was done" in found[0].printed, printed


def lose(cache, args, tmp_path, unbroken_by_two, victim: int, number: signal.Signals) -> process.Ended:
    """Sends a signal to one of two processes once there is a checkpoint. The other has to end, and a restart to go on."""
    with several.started(cache, 2, *args) as running:
        process.wait_until(lambda: process.finished_steps(tmp_path), "checkpoint")
        running[victim].send(number)
        ended = running[1 - victim].end(60)
    assert ended.code in (134, -6), ended.printed
    newest = process.finished_steps(tmp_path)[-1]
    assert f"Resuming at step {newest}." in resume(cache, args, tmp_path, unbroken_by_two)
    return ended


@pytest.mark.slow
@pytest.mark.fault("lost_process", "killed")
def test_a_kill_ends_the_other_at_once(cache, args, tmp_path, unbroken_by_two, draw, note):
    ended = lose(cache, args, tmp_path, unbroken_by_two, draw % 2, signal.SIGKILL)
    assert f"Process {draw % 2} of 2 is gone" in ended.printed or "UNAVAILABLE" in ended.printed, ended.printed
    note(f"the other ended in {ended.seconds:.1f} s")


@pytest.mark.slow
@pytest.mark.fault("lost_process", "stopped (SIGSTOP)")
def test_a_stopped_process_misses_its_heartbeat(cache, args, tmp_path, unbroken_by_two, draw, note):
    ended = lose(cache, args, tmp_path, unbroken_by_two, 1 - draw % 2, signal.SIGSTOP)
    assert "heartbeat" in ended.printed.lower() or "is gone" in ended.printed, ended.printed
    note(f"the other ended in {ended.seconds:.1f} s of a heartbeat of 10 s")


@pytest.mark.slow
@pytest.mark.fault("lost_process", "stuck alive")
def test_a_stuck_process_is_found_by_the_watchdog_and_shown_by_its_stack(cache, args, tmp_path, unbroken_by_two, draw, note):
    victim = 1 - draw % 2
    inject = {victim: ("--at=avc_jax.train.step:wait_for_devices", "--do=sleep", "--after=600", "--nth=5")}
    began = time.monotonic()
    with several.started(cache, 2, *args, f"--config.train.watchdog_s={WATCHDOG_S}", inject=inject) as running:
        found = several.ends(running)
    assert {ended.code for ended in found} <= {134, -6}, said(found)
    assert any(f"no step and no batch of an evaluation for {WATCHDOG_S} s" in ended.printed for ended in found), said(found)
    assert "inject.py" in found[victim].printed and "_happen" in found[victim].printed, said(found)
    assert "Resuming at step 3" in resume(cache, args, tmp_path, unbroken_by_two)
    note(f"both ended in {time.monotonic() - began:.0f} s from their start, of a limit of {WATCHDOG_S} s")


@pytest.mark.fault("roll_call", "coordinator absent")
def test_an_absent_process_0_is_named(cache, args, note):
    ended = process.run(cache, *args, "--config.processes.roll_call_s=3", f"--coordinator={several.free_address()}",
                        "--process=1", "--num_processes=2", expect=134, limit_s=60)
    assert "missing after 3 s" in ended.printed and "process 0, which is expected at 127.0.0.1:" in ended.printed
    note(f"ended in {ended.seconds:.0f} s of a limit of 3 s")


@pytest.mark.fault("roll_call", "wrong port")
def test_a_wrong_port_is_told_by_both(cache, args):
    args = (*args, "--config.processes.roll_call_s=5", "--num_processes=2")
    with process.Command(cache, *args, f"--coordinator={several.free_address()}", "--process=0") as zero:
        one = process.run(cache, *args, f"--coordinator={several.free_address()}", "--process=1", expect=134, limit_s=60)
        ended = zero.end(60)
    assert "process 0, which is expected at" in one.printed
    assert ended.code == 134 and "missing after 5 s" in ended.printed and "process 1 of 2" in ended.printed


@pytest.mark.fault("roll_call", "one process too few")
def test_one_too_few_is_named_by_all_who_came(cache, args):
    address = several.free_address()
    flags = (*args, "--config.processes.roll_call_s=5", f"--coordinator={address}", "--num_processes=3")
    with process.Command(cache, *flags, "--process=0") as zero, process.Command(cache, *flags, "--process=2") as two:
        for running in (zero, two):
            ended = running.end(60)
            assert ended.code == 134 and "process 1 of 3" in ended.printed, ended.printed


@pytest.mark.slow
def test_processes_flag_runs_all_and_a_refusal_is_told_once(cache, args, tmp_path):
    ended = process.run(cache, *args, "--processes=2", "--config.train.batch_size=10", expect=64)
    assert ended.printed.count("Error:") == 1 and "config.train.batch_size: found 10, expected a multiple of" in ended.printed
    done = process.run(cache, *args, "--processes=2", "--config.train.steps=3", "--workdir=" + str(tmp_path / "again"))
    assert "[0] Done at step 3" in done.printed and "[1] Done" not in done.printed


@pytest.mark.slow
@pytest.mark.fault("two_runs", "the first is several processes")
def test_a_workdir_of_several_processes_is_refused_too(cache, args, tmp_path):
    with several.started(cache, 2, *args) as first:
        first[0].wait_for(r"^step 1/9")
        found = several.run(cache, 2, *args, expect=64)
        assert sum("is in use by another run" in ended.printed for ended in found) == 1, said(found)
        assert {ended.code for ended in several.ends(first)} == {0}
