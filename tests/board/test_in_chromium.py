"""The board as people use it: in a real browser, by mouse and by keyboard alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cuecard.board.app import BoardApp, build_board
from cuecard.board.settings import BoardSettings
from cuecard.cli.recipe_flags import TRAIN
from cuecard.folder_lock import held
from cuecard.registry import Registry
from support.board_runs import answer, save_run
from support.browser import Tab, chromium, tab
from support.command_line import save_rows
from support.serving.in_thread import listening

FIXTURE = Path(__file__).parents[1] / "compatibility" / "fixtures" / "registry"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PHONE = {"viewport": {"width": 360, "height": 740}}
DESK = {"viewport": {"width": 1280, "height": 800}}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the board is started: two runs of the same rows, one with hostile texts, a registry."""
    monkeypatch.chdir(tmp_path)
    rows = [("good film", "positive"), ("bad film", "negative"), ("fine", "positive")]
    for name, said in (("first", "positive"), ("second", "negative")):
        answers = [answer(text, gold, said) for text, gold in rows]
        save_run(tmp_path / "runs" / name, answers, score=0.6, steps=30)
    save_run(tmp_path / "runs" / "hostile <b>", [answer(HOSTILE, HOSTILE, "positive")])
    save_run(tmp_path / "runs" / "live", finished=False)
    shutil.copytree(FIXTURE, tmp_path / "prompts")
    save_rows(
        tmp_path / "reviews.csv",
        [{"text": f"film {n} {HOSTILE}", "label": ("bad", "good")[n % 2]} for n in range(40)],
    )
    return tmp_path


@pytest.fixture
def url(work: Path) -> Iterator[str]:
    settings = BoardSettings(Path("runs"), "prompts", flags=TRAIN.names)
    board: BoardApp = build_board(settings)
    with listening(board.app) as place:
        yield place
    board.jobs.close()


@pytest.fixture
def desk(browser: Any, url: str) -> Iterator[Tab]:
    with tab(browser, url, **DESK) as opened:
        yield opened


def focused(page: Any) -> str:
    """The text of what has the keyboard's focus."""
    found: str = page.evaluate(
        "(document.activeElement.innerText || document.activeElement.name || '').trim()"
    )
    return found


def reach(page: Any, wanted: str, most: int = 60) -> None:
    """Press Tab until something has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if focused(page) == wanted:
            return
    pytest.fail(f"the keyboard does not reach {wanted!r}")


def test_from_the_list_to_a_row(desk: Tab) -> None:
    page = desk.open("/")
    page.get_by_role("link", name="first", exact=True).click()
    page.locator("#curves canvas").first.wait_for()
    assert page.locator("#curves .uplot").count() == 2  # losses and scores have axes of their own
    page.get_by_label("1 rows of negative answered positive").click()
    assert page.url.endswith("/rows?gold=negative&answer=positive")
    assert page.locator(".case").count() == 1 and page.get_by_text("bad film").is_visible()


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
    assert page.get_by_role("region", name="Rows and answers").locator("tbody tr").count() == 3


def test_compared_by_keyboard_alone(desk: Tab) -> None:
    page = desk.open("/")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
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
    assert page.locator(".case").count() == 2
    # Where the focus is can be seen.
    reach(page, "Filter")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_run_is_watched(desk: Tab, work: Path) -> None:
    with held(work / "runs" / "live"):
        page = desk.open("/runs/live")
        page.get_by_text("step 3 of 4").wait_for()
        with (work / "runs" / "live" / "log.jsonl").open("a") as log:
            log.write(json.dumps({"event": "step", "step": 4, "loss": 0.125}) + "\n")
        page.get_by_text("step 4 of 4, loss 0.1250").wait_for()  # without a reload
        points = page.evaluate("plots[0].data[0].length")
        assert points == 4
    page.locator("#live .state.stopped").wait_for()


def test_hostile_names_and_texts_are_texts(desk: Tab) -> None:
    page = desk.open("/")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.get_by_role("link", name="hostile <b>").click()
    page.get_by_role("link", name="1 answers").click()
    assert page.locator(".case").get_by_text(HOSTILE, exact=True).first.is_visible()
    page = desk.open("/data?data.path=reviews.csv")
    assert page.get_by_text(HOSTILE).first.is_visible()
    assert page.locator("img").count() == 0


def test_data_then_the_command_of_a_form(desk: Tab) -> None:
    page = desk.open("/data")
    page.get_by_role("link", name="reviews.csv").click()
    assert page.get_by_role("region", name="Labels").get_by_text("good").is_visible()
    page.get_by_role("link", name="Train on it").click()
    page.get_by_label("steps", exact=True).fill("7")
    page.get_by_label("steps", exact=True).press("Tab")  # its change shows another command
    page.get_by_text("--steps 7").first.wait_for()
    assert "cuecard train reviews.csv" in page.locator("#command pre").first.inner_text()


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


PATHS = (
    "/",
    "/runs/first",
    "/runs/first/rows",
    "/compare?run=first&run=second&show=all",
    "/data?data.path=reviews.csv",
    "/new?data.path=reviews.csv",
    "/registry",
    "/registry/reviews",
    "/runs/missing",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["360", "1280"])
def test_every_page_fits_and_can_be_read(
    size: dict[str, Any], scheme: str, browser: Any, url: str
) -> None:
    with tab(browser, url, color_scheme=scheme, **size) as opened:
        for path in PATHS:
            page = opened.open(path)
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, path
            assert page.evaluate(UNNAMED) == [], path
            assert page.evaluate(FAINT) == [], path
        opened.problems[:] = [p for p in opened.problems if "404" not in p]  # the missing run


def test_the_theme_is_chosen_and_kept(desk: Tab) -> None:
    page = desk.open("/runs/first")
    page.get_by_label("Switch between light and dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page = desk.open("/")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"


# What can be used and has no name that a screen reader could say.
UNNAMED = """
[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea")]
  .filter((one) => !(one.innerText || "").trim() && !one.getAttribute("aria-label")
    && !(one.labels && one.labels.length))
  .map((one) => one.outerHTML.slice(0, 120))
"""
# Texts whose contrast with what is behind them is below that of WCAG 2.2, 1.4.3 (AA).
FAINT = """
(() => {
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const over = ([r, g, b, a = 1], under) =>
    [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
  const behind = (one) => {
    const layers = [];
    for (; one; one = one.parentElement) layers.push(parts(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const found = [];
  for (const one of document.querySelectorAll("main *, header *, footer *")) {
    const own = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || one.closest("svg, .uplot, option, .sr, [hidden]") || !one.offsetParent) continue;
    const style = getComputedStyle(one), under = behind(one);
    const pair = [light(over(parts(style.color), under)), light(under)].sort((a, b) => b - a);
    const large = parseFloat(style.fontSize) >= 24;
    if ((pair[0] + 0.05) / (pair[1] + 0.05) < (large ? 3 : 4.5))
      found.push(one.tagName + " " + one.className + ": " + one.textContent.trim().slice(0, 40));
  }
  return found;
})()
"""
