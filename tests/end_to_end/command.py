"""Runs avc_jax's commands as users do, in processes of their own, on a small network."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A network and a front end small enough that compiling takes most of the time.
TINY = (
    "--config=configs/flickr.py:tiny",
    "--config.system.width=0.0625",
    "--config.data.frame_short_side=40",
    "--config.data.frame_size=32",
    "--config.audio.rate_hz=8000",
    "--config.audio.stft_window_s=0.032",
    "--config.audio.stft_hop_s=0.016",
    "--config.train.batch_size=8",
    "--config.data.pairs_per_visit=2",
    "--config.train.log_every=5",
    "--config.probe.augment=false",
    "--config.probe.steps=20",
)


def environment(cache: Path) -> dict[str, str]:
    """The environment of a user without settings of their own, but for a compiler that hurries (see tests/conftest.py), with
    compiled programs kept in `cache`."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return kept | {"XLA_FLAGS": "--xla_backend_optimization_level=1", "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}


def start(cache: Path, *args: str, module: str = "avc_jax.main") -> subprocess.Popen:
    """Starts a command; its output is a pipe of text."""
    return subprocess.Popen([sys.executable, "-m", module, *args], cwd=ROOT, env=environment(cache),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(cache: Path, *args: str, module: str = "avc_jax.main", expect: int = 0) -> str:
    """Runs a command to its end and returns what it printed; fails with that if the exit code is not the expected one."""
    process = start(cache, *args, module=module)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == expect, f"exit code {process.returncode}, expected {expect}:\n{output}"
    return output


def results(workdir: Path) -> dict:
    return json.loads((workdir / "results.json").read_text())
