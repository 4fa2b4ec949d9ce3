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

import browser  # noqa: E402
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


@pytest.fixture(scope="module")
def chromium():
    """A browser without a window."""
    if browser.CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A page that hangs is a failure; the limit only allows for a busy machine.
        opened = playwright.chromium.launch(executable_path=browser.CHROMIUM, args=["--no-sandbox", "--disable-gpu"],
                                            timeout=300_000)
        yield opened
        opened.close()


@pytest.fixture
def opened(chromium, path):
    """A function that opens the page of the fixture `path` on a screen; what the page complains of, and asks for, is checked at
    the end of the test."""
    complaints, asked, contexts = [], [], []

    def open_page(width: int = 1280, scheme: str = "light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(300_000)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    files = [url for url in asked if not url.startswith("data:")]
    assert files == [path.as_uri()] * len(contexts)
