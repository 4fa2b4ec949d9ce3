"""What every test stands on: eight forced CPU devices, a cache of compiled programs, small videos, small configs."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent

# Before JAX is imported. Level 1 compiles in a third of the time of level 3 and gives the same numbers; level 0 does not
# (its fused maxima are not equal to the activations that they are taken from, so gradients get lost).
# Eight devices on few cores of a busy machine meet late: 40 s, the default, ends the process where waiting would do.
_FLAGS = {"--xla_force_host_platform_device_count": "8", "--xla_backend_optimization_level": "1",
          "--xla_cpu_collective_call_terminate_timeout_seconds": "300"}
_given = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join([_given, *(f"{name}={value}" for name, value in _FLAGS.items() if name not in _given)]).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Of this checkout, so that neither the user's cache is filled nor another version's programs are found.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPO / ".pytest_cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import pytest  # noqa: E402
import tiny  # noqa: E402


def pytest_configure(config):
    # Two test runs at once may meet in the cache; a program that cannot be read is compiled again.
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache:UserWarning")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real media beside the repository."""
    folder = REPO.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"{folder}/data is not here")
    return folder


@pytest.fixture(scope="session")
def tiny_config():
    """A function that returns a small, checked l3net config; see `tiny.config`."""
    return tiny.config


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """A folder of `tiny.NUM_VIDEOS` videos; see `tiny.write_video`. Do not write into it."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(tiny.NUM_VIDEOS):
        tiny.write_video(folder / f"{number:02d}.mp4", number)
    return folder
