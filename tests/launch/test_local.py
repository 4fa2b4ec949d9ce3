"""launch/local.sh starts a command again where that helps, and only there."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "launch" / "local.sh"


def start(script: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen([SCRIPT, "bash", "-c", script], env=os.environ | environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("code", [0, 64, 70])
def test_what_is_final_ends_the_script_with_its_code(code):
    assert start(f"exit {code}").wait(60) == code


@pytest.mark.parametrize("ending", ["exit 75", "exit 134", "kill -KILL $$"])
def test_a_run_that_can_go_on_is_started_again(tmp_path, ending):
    process = start(f"test -e {tmp_path / 'second'} && exit 0; touch {tmp_path / 'second'}; {ending}", WAIT_S="0")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "starting again" in said


def test_there_is_an_end_to_restarts(tmp_path):
    assert start(f"echo >>{tmp_path / 'runs'}; exit 134", WAIT_S="0", MAX_RESTARTS="3").wait(60) == 134
    assert len((tmp_path / "runs").read_text()) == 4


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_who_stops_the_script_stops_the_run_and_gets_its_exit_code(tmp_path, signals):
    process = start(f"trap 'sleep 1; touch {tmp_path / 'saved'}; exit 75' TERM; echo ready; while true; do sleep 0.1; done")
    assert process.stdout.readline() == "ready\n"
    for number in signals:
        process.send_signal(number)
    assert process.wait(60) == 75
    assert (tmp_path / "saved").exists()


def test_who_stops_the_script_between_two_runs_ends_it(tmp_path):
    process = start(f"echo >>{tmp_path / 'runs'}; exit 75", WAIT_S="2")
    assert "starting again" in process.stderr.readline()
    process.terminate()
    assert process.wait(60) == 75
    assert len((tmp_path / "runs").read_text()) == 1
