"""Pages in a real browser: Debian's Chromium, without a screen and without a network."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


class Opened(NamedTuple):
    """A page in the browser, and what it did that it should not."""

    page: Any
    requests: list[str]
    complaints: list[str]
    """What it logged, errors that nobody caught, and dialogs."""

    def texts(self, selector: str) -> list[str]:
        """The text of every element that fits."""
        return list(self.page.locator(selector).all_text_contents())


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A browser. Tests that need one are skipped where none is installed; the project's own check installs it."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here to open pages with")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


def opened(browser: Any, file: Path, **settings: Any) -> Opened:
    """A file in a new page, shown to its end."""
    page = browser.new_page(**settings)
    requests, complaints = list[str](), list[str]()
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.goto(file.resolve().as_uri())
    page.wait_for_selector("body[data-ready]")
    return Opened(page, requests, complaints)
