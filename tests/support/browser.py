"""A real Chromium, headless; tests that need it are skipped where none is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

PHONE = {"viewport": {"width": 360, "height": 740}}
DESK = {"viewport": {"width": 1280, "height": 800}}
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


def focused(page: Any) -> list[str]:
    """What has the keyboard's focus: its text, its label, its names."""
    found: list[str] = page.evaluate(
        """(() => {
          const one = document.activeElement;
          return [one.innerText, one.getAttribute("aria-label"), one.name, one.id]
            .filter(Boolean).map((text) => text.trim());
        })()"""
    )
    return found


def reach(page: Any, wanted: str, most: int = 80) -> None:
    """Press Tab until something has the focus, and see that this can be seen."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if wanted in focused(page):
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style != "none", f"the focus on {wanted!r} cannot be seen"
            return
    pytest.fail(f"the keyboard does not reach {wanted!r}")


def faults(page: Any, *rules: str) -> list[str]:
    """What axe finds wrong with a page, each with the elements that it is wrong with.

    Args:
        rules: those that are checked; all by default.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = axe.Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:160]}"
        for one in found
        for node in one["nodes"]
    ]
