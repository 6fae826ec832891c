"""Every page by keyboard alone; what has the focus can be seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cuecard.board.app import build_board
from cuecard.board.settings import BoardSettings
from cuecard.registry import Registry
from cuecard.serving.http.auth import add_key
from support.browser import DESK, PHONE, Tab, focused, reach, tab
from support.serving.in_thread import listening


def test_from_the_list_to_wrong_rows(desk: Tab) -> None:
    page = desk.open("/")
    reach(page, "first")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/runs/first"))
    reach(page, "smoothing")
    before = page.locator("#smoothing").input_value()
    page.keyboard.press("ArrowRight")
    assert page.locator("#smoothing").input_value() != before
    desk.open("/runs/first")
    reach(page, "only wrong")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("show=wrong"))
    page.locator(".case").first.wait_for()
    assert page.locator(".case").count() == 1


def test_compared_by_keyboard_alone(desk: Tab) -> None:
    page = desk.open("/")
    page.keyboard.press("Tab")
    assert "Skip to the content" in focused(page)
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        label = page.evaluate("document.activeElement.getAttribute('aria-label')")
        if label in ("Compare first", "Compare second"):
            page.keyboard.press("Space")
        if page.locator("input:checked").count() == 2:
            break
    assert page.locator("input:checked").count() == 2
    page.keyboard.press("Enter")  # a form is sent from its boxes, too
    page.get_by_role("heading", name="Compare").wait_for()
    assert "run=first" in page.url and "run=second" in page.url


def test_filtered_by_keyboard_alone(desk: Tab) -> None:
    page = desk.open("/runs/first/rows")
    reach(page, "q")
    page.keyboard.type("film")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("q=film"))
    page.locator(".case").nth(1).wait_for()
    assert page.locator(".case").count() == 2


def test_rolled_back_and_promoted_by_keyboard_alone(desk: Tab, work: Path) -> None:
    page = desk.open("/registry")
    reach(page, "reviews")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Roll back").wait_for()
    reach(page, "Promote")
    reach(page, "why")
    page.keyboard.type("answers are too long")
    page.keyboard.press("Enter")
    page.get_by_role("cell", name="answers are too long").wait_for()
    registry = Registry(work / "prompts")
    assert registry.aliases("reviews") == {"production": 1}
    page.locator("select[name=version]").select_option("2")
    page.get_by_label("Reason", exact=True).first.fill("better after all")
    page.get_by_role("button", name="Promote").click()
    page.get_by_role("cell", name="better after all").wait_for()
    assert registry.aliases("reviews") == {"production": 2}


def test_data_then_a_form(desk: Tab) -> None:
    page = desk.open("/data")
    reach(page, "reviews.csv")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Labels").wait_for()
    reach(page, "Train on it")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/new"))
    reach(page, "training.steps")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("7")
    page.keyboard.press("Tab")
    page.get_by_text("--steps 7").first.wait_for()


def test_contestants_are_compared(kinds: Path, desk: Tab) -> None:
    page = desk.open("/runs/contest")
    for name in ("Compare majority class", "Compare zero-shot"):
        reach(page, name)
        page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Compare").wait_for()
    assert page.url.count("run=contest%7Econtests%7E16-rows%7E") == 2


def test_a_wide_table_is_scrolled(kinds: Path, desk: Tab) -> None:
    desk.page.set_viewport_size(PHONE["viewport"])
    page = desk.open("/runs/contest")
    reach(page, "Each against each", most=120)
    assert page.evaluate("document.activeElement.scrollLeft") == 0
    page.evaluate(
        """globalThis.scrolled = new Promise((done) => {
          document.activeElement.addEventListener("scroll", () => done());
          setTimeout(done, 20_000);
        }); null"""
    )
    page.keyboard.press("ArrowRight")
    page.evaluate("scrolled")  # the browser does it in its own time
    assert page.evaluate("document.activeElement.scrollLeft") > 0


def test_a_candidate_is_read(kinds: Path, desk: Tab) -> None:
    page = desk.open("/runs/words")
    first = page.locator("details summary").first.inner_text()
    reach(page, first)
    page.keyboard.press("Enter")
    text = page.locator("details pre").first
    text.wait_for()
    assert text.inner_text().strip()


def test_signed_in_and_the_theme_chosen(browser: Any, work: Path) -> None:
    key = add_key(work / "keys.json", "ann")
    board = build_board(BoardSettings(Path("runs"), "prompts", keys=work / "keys.json"))
    with listening(board.app) as url, tab(browser, url, **DESK) as opened:
        page = opened.open("/")
        assert "key" in focused(page)
        page.keyboard.type(key)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="first", exact=True).wait_for()
        reach(page, "Switch between light and dark")
        page.keyboard.press("Enter")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        opened.problems[:] = [p for p in opened.problems if "401" not in p]
