"""A browser for the tests, and what finds faults of access in its pages.

make test-browser installs what they need; Chromium is the machine's own.
"""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("needs Chromium: apt-get install -y --no-install-recommends chromium")
    with sync_playwright() as playwright:
        # A container's root user has no sandbox; the pages are our own.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser):
    """Opens a page at a width, and fails in the end if it had complained or asked for anything."""
    pages, complaints = [], []

    def open_(path, width=1280, *, dark=False):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda asked: None if asked.url.startswith(("file:", "data:")) else complaints.append(asked.url)
        )
        page.goto(Path(path).as_uri())
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.close()
    assert complaints == []


@pytest.fixture
def faults():
    """The faults of access that axe-core finds in a page, those that it calls serious or critical."""
    axe = Path(os.environ.get("AXE", ROOT / ".venv/axe/node_modules/axe-core/axe.min.js"))

    def find(page):
        page.evaluate(axe.read_text(encoding="utf-8"))
        # It would ask for style sheets once more, which a browser refuses to a page that is a file.
        found = page.evaluate("axe.run(document, {preload: false})")["violations"]
        grave = [one for one in found if one["impact"] in {"serious", "critical"}]
        return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in grave]

    return find
