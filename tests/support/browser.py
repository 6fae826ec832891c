"""A real Chromium, headless; tests that need it are skipped where none is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass
class Tab:
    """A page of the browser, and what went wrong in it.

    Attributes:
        page: Playwright's.
        problems: errors that the page's console told, such as what its policy refused.
    """

    page: Any
    url: str
    problems: list[str] = field(default_factory=list)

    def open(self, path: str) -> Any:
        """Go to a page of the board."""
        self.page.goto(self.url + path)
        return self.page


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as started:
        # Its sandbox needs rights that containers do not give.
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@contextmanager
def tab(browser: Any, url: str, **options: Any) -> Iterator[Tab]:
    """A fresh page; at its end nothing may have gone wrong in it.

    Args:
        options: of the browser's context, such as its size.
    """
    context = browser.new_context(**options)
    opened = Tab(context.new_page(), url)
    opened.page.set_default_timeout(30_000)
    opened.page.on(
        "console",
        lambda told: opened.problems.append(told.text) if told.type == "error" else None,
    )
    opened.page.on("pageerror", lambda error: opened.problems.append(str(error)))
    yield opened
    context.close()
    assert opened.problems == []
