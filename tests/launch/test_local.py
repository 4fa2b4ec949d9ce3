"""launch/local.sh starts a command again where that helps, and only there."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "launch" / "local.sh"


@pytest.mark.parametrize("code", [0, 64, 70])
def test_what_is_final_ends_the_script_with_its_code(code):
    assert subprocess.run([SCRIPT, "bash", "-c", f"exit {code}"], timeout=60).returncode == code


def test_a_stopped_run_is_started_again(tmp_path):
    once = f"test -e {tmp_path / 'second'} && exit 0; touch {tmp_path / 'second'}; exit 75"
    done = subprocess.run([SCRIPT, "bash", "-c", once], timeout=60, capture_output=True, text=True)
    assert done.returncode == 0
    assert "starting again" in done.stderr
