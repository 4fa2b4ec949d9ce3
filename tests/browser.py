"""What tests that open a page in a browser share; the fixtures `chromium` and `opened` are in conftest.py."""

import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def wait(page, condition: str) -> None:
    """Until JavaScript is true. Playwright's own way is to evaluate text within the page, which the page's policy forbids."""
    page.evaluate(f"new Promise((done) => {{ const look = () => ({condition}) ? done() : setTimeout(look, 20); look(); }})")
