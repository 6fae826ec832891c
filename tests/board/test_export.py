from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from cuecard.board.export import export_board
from cuecard.board.settings import BoardSettings
from cuecard.errors import ConfigError
from support.board_runs import answer, save_run
from support.command_line import run_in_process

FIXTURE = Path(__file__).parents[1] / "compatibility" / "fixtures" / "registry"
LINK = re.compile(r'(?:href|src)="([^"]*)"')


@pytest.fixture
def site(tmp_path: Path) -> Path:
    save_run(
        tmp_path / "runs" / "many", [answer(f"t{n}", "positive", "positive") for n in range(60)]
    )
    save_run(tmp_path / "runs" / "a<b>&", [answer("<script>", "negative", "positive")])
    shutil.copytree(FIXTURE, tmp_path / "prompts")
    folder = tmp_path / "site"
    count = export_board(BoardSettings(tmp_path / "runs", str(tmp_path / "prompts")), folder)
    assert count == len(list(folder.rglob("*.html")))
    return folder


def test_every_page_is_a_file(site: Path) -> None:
    found = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    odd = next(path.stem for path in (site / "runs").iterdir() if path.stem.startswith("a-b"))
    assert found == {
        "index.html",
        "registry.html",
        "registry/reviews.html",
        "registry/titles.html",
        "runs/many.html",
        "runs/many/rows.html",
        "runs/many/rows-2.html",
        f"runs/{odd}.html",
        f"runs/{odd}/rows.html",
    }
    assert "t59" in (site / "runs/many/rows-2.html").read_text()


def test_every_link_leads_to_a_file(site: Path) -> None:
    for page in site.rglob("*.html"):
        for link in LINK.findall(page.read_text()):
            if not link.startswith("#"):
                target = (page.parent / link).resolve()
                assert target.is_file() and target.is_relative_to(site.resolve()), (page, link)


def test_nothing_asks_a_board(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert "htmx" not in text and 'class="exported"' in text
        assert "<script>" not in text
    assert {path.name for path in (site / "static").iterdir()} >= {"board.css", "uPlot.LICENSE"}


def test_a_folder_that_holds_something(tmp_path: Path, site: Path) -> None:
    with pytest.raises(ConfigError, match="holds something"):
        export_board(BoardSettings(tmp_path / "runs", "prompts"), site)


def test_without_runs_or_a_registry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (tmp_path / "none", "--registry", tmp_path / "nowhere", "--export", tmp_path / "out")
    done = run_in_process(capsys, "board", *words, "--json")
    assert done.code == 0 and done.json["pages"] == 2
    assert "No runs yet" in (tmp_path / "out" / "index.html").read_text()


def test_a_comparison_and_a_search_are_files(
    comparison: Path, search: Path, tmp_path: Path
) -> None:
    for folder in (comparison, search):
        shutil.copytree(folder, tmp_path / "runs", dirs_exist_ok=True)
    site = tmp_path / "site"
    export_board(BoardSettings(tmp_path / "runs", str(tmp_path / "none")), site)
    contest = (site / "runs" / "contest.html").read_text()
    assert contest.count("<figure") == 5 and "Compare ticked answers" not in contest
    assert (site / "runs" / "contest~contests~all-rows~lora" / "rows.html").is_file()
    words = (site / "runs" / "words.html").read_text()
    assert "as it was" in words and "hx-get" not in words + contest
    test_every_link_leads_to_a_file(site)
    test_nothing_asks_a_board(site)
