"""The page of an answer, in a browser: for everybody, on every screen, without asking the network, with sounds that play."""

import io
import shutil
from pathlib import Path

import media
import numpy as np
import pytest
from browser import wait
from PIL import Image
from report.workdirs import Page
from search import nets

from avc_jax import errors
from avc_jax.search import ask, build, page
from avc_jax.search.build import Wish
from avc_jax.search.index import Store
from avc_jax.search.network import Network
from avc_jax.train.guard import Guard

HOSTILE = "<img src=x onerror=alert(1)>$title&amp;'\u202e.mp4"


@pytest.fixture(scope="module")
def made(tmp_path_factory, videos):
    """Network, index, folder of the files: three videos, one with a hostile name, a sound, an image, a video without a sound, a
    file that is gone since."""
    base = tmp_path_factory.mktemp("search")
    folder = base / "files"
    folder.mkdir()
    for number, name in enumerate(("00.mp4", HOSTILE, "02.mp4")):
        shutil.copy2(videos / f"{number:02d}.mp4", folder / name)
    media.tone_video(folder / "03.wav", video=False, seconds=9.0, rate_hz=16000)
    Image.fromarray(media.numbered(1365)).save(folder / "04.jpg")
    media.quarters_video(folder / "05.mp4")
    media.tone_video(folder / "06.mp4", seconds=1.0)
    network_folder = nets.save(base / "net")
    with Store(str(base / "index")) as store, Guard() as guard:
        index = build.refresh(store, Wish([str(folder)], checkpoint=str(network_folder)), guard, io.StringIO())
    (folder / "06.mp4").unlink()
    return Network(str(network_folder), 0.0, 8), index, folder


def write(made, path: Path, name: str, among: str | None = "both", **changes) -> ask.Answer:
    network, index, folder = made
    asked = ask.question(network, str(folder / name), None, changes.get("at_s"), lambda: None)
    answer = ask.answer(index, asked, network.model.system.directions, among=among)
    page.write(str(path), index, asked, answer, network.model.config, "the index")
    return answer


@pytest.fixture(scope="module")
def path(made, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "found.html"
    assert len(write(made, path, "00.mp4").hits) == 7
    return path


def test_page_passes_the_accessibility_check_and_fits_its_screen(opened):
    from axe_playwright_python.sync_playwright import Axe

    for width, scheme in ((1280, "light"), (390, "dark")):
        shown = opened(width, scheme)
        assert shown.evaluate("document.documentElement.scrollWidth") == width
        found = Axe().run(shown)
        assert found.violations_count == 0, found.generate_report()


def test_every_file_has_its_place_picture_sound_and_score(opened):
    shown = opened()
    cards = shown.locator("#answer .pair")
    assert cards.count() == 7
    titles = [cards.nth(place).locator("h3 .path").inner_text() for place in range(7)]
    scores = [float(cards.nth(place).locator(".value").inner_text()) for place in range(7)]
    assert scores == sorted(scores, reverse=True)
    for place, title in enumerate(titles):
        images, sounds = (cards.nth(place).locator(what).count() for what in (".media img", "audio"))
        expected = {"03.wav": (1, 1), "04.jpg": (1, 0), "05.mp4": (1, 0), "06.mp4": (0, 0)}.get(title, (2, 1))
        assert (images, sounds) == expected, title
        marked = cards.nth(place).locator(".mark").count()
        assert marked == (title == "00.mp4")
    assert "It cannot be shown" in cards.nth(titles.index("06.mp4")).inner_text()
    assert shown.locator("#question audio").count() == 1
    widths = shown.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert min(widths) > 0
    assert shown.locator("body *[onerror]").count() == 0


def test_sounds_play_one_at_a_time_with_a_line_on_the_spectrogram(opened):
    shown = opened()
    durations = shown.evaluate("""Promise.all([...document.querySelectorAll("audio")].map((audio) => audio.readyState
        ? audio.duration : new Promise((done) => audio.addEventListener("loadedmetadata", () => done(audio.duration)))))""")
    assert len(durations) == 5 and max(durations) == pytest.approx(page.EXCERPT_S, abs=0.3) and min(durations) > 0.2
    playing = "[...document.querySelectorAll('audio')].flatMap((audio, i) => audio.paused ? [] : [i])"
    for number in (0, 2):
        shown.evaluate(f"document.querySelectorAll('audio')[{number}].loop = true")
        shown.evaluate(f"document.querySelectorAll('audio')[{number}].play()")
        wait(shown, f"document.querySelectorAll('audio')[{number}].currentTime > 0.1")
        assert shown.evaluate(playing) == [number]
    assert shown.locator("#answer .playhead:visible").count() == 1


def test_the_player_starts_at_the_best_window(made, tmp_path, monkeypatch):
    network, index, folder = made
    heard, encode = [], page.media.mp3
    monkeypatch.setattr(page.media, "mp3", lambda samples, rate_hz: heard.append(samples) or encode(samples, rate_hz))
    asked = ask.question(network, str(folder / "03.wav"), "sound", 4.5, lambda: None)
    file = next(place for place, file in enumerate(index.files) if file.path.endswith("03.wav"))
    answer = ask.Answer([ask.Hit(file, 0.5, "audio", 4.5)], {"audio": ("audio",)}, 1, 1.0)
    page.write(str(tmp_path / "a.html"), index, asked, answer, network.model.config, "i")
    # Question and answer: the 4.5 s of 9 s that are left.
    assert [len(samples) / network.model.config.audio.rate_hz for samples in heard] == pytest.approx([4.5, 4.5], abs=0.05)
    np.testing.assert_array_equal(heard[0], heard[1])


def test_a_page_of_an_approximate_search_without_rooms_for_media_says_so(made, tmp_path, monkeypatch):
    network, index, folder = made
    monkeypatch.setattr(page, "_SOUNDS", 0)
    monkeypatch.setattr(page, "_PICTURES", 0)
    asked = ask.question(network, str(folder / "04.jpg"), None, None, lambda: None)
    answer = ask.Answer([ask.Hit(0, 0.25, "audio", 0.0)], {"video": ("audio",)}, 4, 0.97)
    page.write(str(tmp_path / "a.html"), index, asked, answer, network.model.config, "i")
    said = Page((tmp_path / "a.html").read_text()).text()
    for words in ("Pictures left out", "Sound left out", "Compared the picture with sounds of 4 files", "0.250", "approximate",
                  "3 more files of the index have", "it finds 97% of the hundred nearest windows"):
        assert words in said
    with pytest.raises(errors.CannotWriteError, match="Name another file for --page"):
        page.write(str(tmp_path / "no" / "a.html"), index, asked, answer, network.model.config, "i")
