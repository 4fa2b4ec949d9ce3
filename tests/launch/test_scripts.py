"""What holds for every launcher: shellcheck has nothing to say, and each says how it is used."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for path in (ROOT / "launch").iterdir() if path.suffix in (".sh", ".sbatch") and path.name != "retry.sh")


def test_shellcheck():
    shellcheck = shutil.which("shellcheck", path=Path(sys.executable).parent) or "shellcheck"
    done = subprocess.run([shellcheck, "--external-sources", *SCRIPTS], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_without_a_command_each_says_how_it_is_used(script):
    done = subprocess.run([script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 64
    assert f"launch/{script.name}" in done.stderr


AGAIN, FINAL = (75, 134, 137, 139, 143), (0, 1, 2, 64, 65, 66, 70, 74, 126, 127)


@pytest.mark.parametrize(("code", "restarts", "again"), [
    *((code, 99, True) for code in AGAIN), *((code, 100, False) for code in AGAIN), *((code, 0, False) for code in FINAL)])
def test_what_is_worth_retrying(code, restarts, again):
    script = f". launch/retry.sh; worth_retrying {code} {restarts}"
    assert (subprocess.run(["bash", "-c", script], cwd=ROOT, timeout=60).returncode == 0) is again
