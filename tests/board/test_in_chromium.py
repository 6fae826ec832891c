"""The board as people use it: in a real browser, by mouse and by keyboard alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from board.conftest import HOSTILE
from cuecard.folder_lock import held
from support.browser import Tab


def test_from_the_list_to_a_row(desk: Tab) -> None:
    page = desk.open("/")
    page.get_by_role("link", name="first", exact=True).click()
    page.locator("#curves canvas").first.wait_for()
    assert page.locator("#curves .uplot").count() == 2  # losses and scores have axes of their own
    page.get_by_label("1 rows of negative answered positive").click()
    page.wait_for_url(re.compile(r"/rows\?gold=negative&answer=positive$"))
    page.get_by_text("bad film").wait_for()
    assert page.locator(".case").count() == 1


def test_runs_are_compared(desk: Tab) -> None:
    page = desk.open("/?sort=name&order=up")
    page.get_by_label("Compare first").check()
    page.get_by_label("Compare second").check()
    page.get_by_role("button", name="Compare ticked runs").click()
    page.get_by_role("heading", name="Compare").wait_for()
    table = page.get_by_role("region", name="Differences").inner_text()
    assert "B second" in table and "-0.333" in table
    page.get_by_label("Show").select_option("all")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile("show=all"))
    rows = page.get_by_role("region", name="Rows and answers").locator("tbody tr")
    rows.nth(2).wait_for()
    assert rows.count() == 3


def test_a_run_is_watched(desk: Tab, work: Path) -> None:
    with held(work / "runs" / "live"):
        page = desk.open("/runs/live")
        page.get_by_text("step 3 of 4").wait_for()
        page.get_by_text("Last events of the log").click()
        with (work / "runs" / "live" / "log.jsonl").open("a") as log:
            log.write(json.dumps({"event": "step", "step": 4, "loss": 0.125}) + "\n")
        page.get_by_text("step 4 of 4, loss 0.1250").wait_for()  # without a reload
        assert page.locator("#live pre").is_visible()  # what was opened stays so
        points = page.evaluate("plots[0].data[0].length")
        assert points == 4
    page.locator("#live .state.stopped").wait_for()


def test_a_search_is_watched(kinds: Path, desk: Tab) -> None:
    folder = kinds / "runs" / "words"
    log = folder / "log.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    first = next(n for n, event in enumerate(events) if event["event"] == "round")
    log.write_text("".join(f"{json.dumps(event)}\n" for event in events[: first + 1]))
    (folder / "search.json").unlink()
    with held(folder):
        page = desk.open("/runs/words")
        page.locator("#curves canvas").wait_for()
        page.locator("summary", has_text="as it was").click()
        before = page.evaluate("plots[0].data[0].length")
        told = {"origin": "by hand", "text": HOSTILE, "beside": "", "score": 0.75, "rows": 12}
        scored = {"event": "scored", "key": "x", "calls": 400, "tokens": 4000, **told}
        with log.open("a") as file:
            file.write(json.dumps(scored) + "\n")
        page.get_by_text("400 calls; last: by hand").wait_for()
        assert page.locator("summary", has_text="by hand").is_visible()
        assert page.locator("details[open] pre", has_text="Decide which").is_visible()
        assert page.evaluate("plots[0].data[0].length") == before + 1


def test_a_comparison_is_watched(kinds: Path, desk: Tab) -> None:
    folder = kinds / "runs" / "contest"
    (folder / "compare.json").unlink()
    standing = folder / "contests" / "all-rows" / "zero-shot" / "contestant.json"
    kept = standing.read_text()
    standing.unlink()
    with held(folder):
        page = desk.open("/runs/contest")
        states = page.get_by_role("region", name="Contestants, all rows")
        states.locator(".state.running").wait_for()
        assert states.locator(".state.running").count() == 1
        standing.write_text(kept)
        states.locator(".state.running").wait_for(state="detached")
        assert states.locator(".state.finished").count() == 4


def test_hostile_names_and_texts_are_texts(desk: Tab) -> None:
    page = desk.open("/")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.get_by_role("link", name="hostile <b>").click()
    page.get_by_role("link", name="1 answers").click()
    page.locator(".case").get_by_text(HOSTILE, exact=True).first.wait_for()
    page = desk.open("/data?data.path=reviews.csv")
    assert page.get_by_text(HOSTILE).first.is_visible()
    assert page.locator("img").count() == 0


def test_data_then_the_command_of_a_form(desk: Tab) -> None:
    page = desk.open("/data")
    page.get_by_role("link", name="reviews.csv").click()
    page.get_by_role("region", name="Labels").get_by_text("good").wait_for()
    page.get_by_role("link", name="Train on it").click()
    page.get_by_label("steps", exact=True).fill("7")
    page.get_by_label("steps", exact=True).press("Tab")  # its change shows another command
    page.get_by_text("--steps 7").first.wait_for()
    assert "cuecard train reviews.csv" in page.locator("#command pre").first.inner_text()


def test_the_theme_is_chosen_and_kept(desk: Tab) -> None:
    page = desk.open("/runs/first")
    page.get_by_label("Switch between light and dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page = desk.open("/")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
