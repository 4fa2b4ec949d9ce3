"""The page as a browser shows it: for everybody, on every screen, by the keyboard, and without asking the network."""

import shutil
from pathlib import Path

import pytest
from report.workdirs import (
    make_evaluations,
    make_metrics,
    make_pairs,
    make_pictures,
    make_quarantine,
    make_rankings,
    make_results,
)

from avc_jax import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

FOCUSABLE = "a[href], button, input, summary, audio[controls], [tabindex='0']"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A page with everything on it."""
    folder = tmp_path_factory.mktemp("page")
    make_metrics(folder)
    make_results(folder)
    make_quarantine(folder)
    make_pairs(folder)
    make_evaluations(folder)
    make_pictures(folder)
    make_rankings(folder)
    return report.write(folder)


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A page that hangs is a failure; the limit only allows for a busy machine.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=300_000)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, path):
    """A function that opens the page on a screen; what it complains of, and asks for, is checked at the end of the test."""
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


def wait(page, condition: str) -> None:
    """Until JavaScript is true. Playwright's own way is to evaluate text within the page, which the page's policy forbids."""
    page.evaluate(f"new Promise((done) => {{ const look = () => ({condition}) ? done() : setTimeout(look, 20); look(); }})")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_passes_the_accessibility_check_and_fits_its_screen(opened, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("for (const box of document.querySelectorAll('details')) box.open = true")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_page_is_dark_in_the_dark(opened):
    for scheme, low, high in (("light", 600, 765), ("dark", 0, 150)):
        colour = opened(scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        assert low < sum(map(int, colour[4:-1].split(","))) < high


def test_every_control_is_reached_by_the_keyboard_and_shows_its_focus(opened):
    page = opened()
    wanted = page.evaluate(f"""[...document.querySelectorAll({FOCUSABLE!r})].filter((e) => e.checkVisibility()).map((e, i) => {{
        e.dataset.number = i; return i; }})""")
    reached, plain = set(), set()
    for _ in range(20 * len(wanted)):
        page.keyboard.press("Tab")
        number, tag, outline = page.evaluate("""[document.activeElement.dataset.number ?? null, document.activeElement.tagName,
            getComputedStyle(document.activeElement).outlineStyle]""")
        if number is None and reached:
            break
        reached.add(number)
        if outline == "none":
            plain.add(tag)
    assert {str(number) for number in wanted} <= reached
    assert plain <= {"AUDIO", "BODY"}  # the parts of a player show which of them has it


def test_sounds_load_and_play_in_place_one_at_a_time(opened):
    page = opened()
    durations = page.evaluate("""Promise.all([...document.querySelectorAll("audio")].map((audio) => audio.readyState
        ? audio.duration : new Promise((done) => audio.addEventListener("loadedmetadata", () => done(audio.duration)))))""")
    asking, found, concepts = 4, 2 * 5 - 1, 3 * 5 - 2  # one clip of seven has no media
    assert len(durations) == 4 + 15 + 4 + asking + found + concepts
    assert durations == pytest.approx([1.0] * len(durations), abs=0.06)
    playing = "[...document.querySelectorAll('audio')].flatMap((audio, i) => audio.paused ? [] : [i])"
    buttons = page.locator("button.play")
    assert buttons.count() == 15 + asking + found + concepts
    for number in (0, 7):
        buttons.nth(number).focus()
        page.evaluate("for (const audio of document.querySelectorAll('audio')) audio.loop = true")  # until it was looked at
        page.keyboard.press("Enter")
        wait(page, f"document.querySelectorAll('.item audio')[{number}].currentTime > 0.1")
        assert page.evaluate(playing) == [4 + number]
        assert "Stop" in buttons.nth(number).inner_text()
        assert page.locator(".item .playhead").nth(number).is_visible()
    page.keyboard.press("Enter")
    wait(page, f"{playing}.length === 0")
    wait(page, "document.querySelectorAll('button.play')[7].innerText.includes('Play')")  # told by an event, a moment later
    assert not page.locator(".item .playhead").nth(7).is_visible()


def test_a_class_is_picked_out_of_all_maps(opened):
    page = opened()
    button = page.locator(".choices button").nth(2)
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator(".scatter path:not(.faint)").evaluate_all("all => all.map((e) => e.dataset.class)") == ["2"] * 4
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false" and page.locator(".scatter .faint").count() == 0


@pytest.mark.parametrize(("section", "count"), [("units", 30), ("localisation", 8)])
def test_heat_can_be_taken_off(opened, section, count):
    page = opened()
    heat = page.locator(f"#{section} .heat:visible")
    assert heat.count() == count
    page.locator(f"#{section} .toggle input").focus()
    page.keyboard.press("Space")
    assert heat.count() == 0


def test_heat_lies_on_its_picture(opened):
    page = opened(390)
    apart = page.locator(".heat").evaluate_all("""all => all.map((heat) => {
        const a = heat.getBoundingClientRect();
        const b = heat.parentElement.querySelector("img").getBoundingClientRect();
        return Math.max(...["x", "y", "width", "height"].map((side) => Math.abs(a[side] - b[side])));
    })""")
    assert len(apart) == 38 and max(apart) < 0.5
