"""What the Dockerfile copies is all that the package needs to install and run. (Building the image takes a registry.)"""

import fnmatch
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def context(tmp_path):
    """A folder of what .dockerignore lets through: a list of top-level names that are kept."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    kept = [line[1:] for line in lines if line.startswith("!")]
    for path in ROOT.iterdir():
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in kept):
            if path.is_dir():
                shutil.copytree(path, tmp_path / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, tmp_path)
    return tmp_path


def test_it_installs_and_runs_from_what_is_copied(context):
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert (context / line.split()[1]).exists()
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (["setup.py", "--version"], ["-m", "avc_jax.main", "--help"]):
        done = subprocess.run([sys.executable, *command], cwd=context, env=kept, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
