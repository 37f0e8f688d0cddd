"""A real browser: headless Chromium, where one is installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Browser:
    """Opens pages, and remembers what they asked for and what went wrong in them.

    Attributes:
        faults: errors on the console, exceptions of scripts, requests without an answer.
        requests: the addresses that pages asked for.
    """

    def __init__(self, driver):
        self.driver = driver
        self.faults: list[str] = []
        self.requests: list[str] = []

    def open(self, address: str, width: int = 1280, height: int = 900, dark: bool = False, javascript: bool = True):
        """A `playwright` page of its own, `width` x `height` in CSS pixels, that shows `address`."""
        look = {"viewport": {"width": width, "height": height}, "color_scheme": "dark" if dark else "light"}
        page = self.driver.new_context(java_script_enabled=javascript, **look).new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("requestfailed", lambda request: self.faults.append(f"{request.url}: {request.failure}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(address)
        return page

    def close(self) -> None:
        """Close all pages, and forget what they did."""
        for context in self.driver.contexts:
            context.close()
        self.faults.clear()
        self.requests.clear()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium that is closed in the end; skips the test where there is none, or nothing that drives it.

    Meanwhile an event loop runs in this thread: `asyncio.run` has to be called in another one.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(NAMES)})")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=[*SWITCHES])
        try:
            yield Browser(started)
        finally:
            started.close()


def overflow(page) -> int:
    """By how many CSS pixels a page is wider than what shows it."""
    root = "document.documentElement"
    return page.evaluate(f"Math.max({root}.scrollWidth, document.body.scrollWidth) - {root}.clientWidth")
