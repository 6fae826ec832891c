"""The README's picture of the board is made of a comparison that was run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import board_picture
from cuecard.board.export import export_board
from cuecard.board.settings import BoardSettings
from support.browser import CHROMIUM

ROOT = Path(__file__).parents[2]


def test_what_is_shown_is_what_the_docs_say(tmp_path: Path) -> None:
    export_board(BoardSettings(board_picture.RUNS, str(tmp_path / "none")), tmp_path / "site")
    page = (tmp_path / "site" / "runs" / "rotten-tomatoes.html").read_text()
    report = json.loads((board_picture.RUNS / "rotten-tomatoes" / "compare.json").read_text())
    said = (ROOT / "docs" / "compare.md").read_text()
    for each in report["contests"][-1]["contestants"].values():
        assert f"| {each['title']} | {each['score']:.3f} |" in said
        assert each["title"] in page and f"{each['score']:.3f}" in page
    assert "](docs/board.png)" in (ROOT / "README.md").read_text()


def test_the_picture(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    out = tmp_path / "board.png"
    assert board_picture.main(["--out", str(out)]) == 0
    with Image.open(out) as made, Image.open(board_picture.OUT) as kept:
        assert made.width == kept.width and abs(made.height - kept.height) < 120
