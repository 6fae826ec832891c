"""Runs' folders, and a browser's requests to a board of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cuecard.board.app import BoardApp, build_board
from cuecard.board.settings import BoardSettings
from cuecard.cli.recipe_flags import TRAIN
from support.board_real_runs import save_comparison, save_search
from support.board_runs import answer, save_run
from support.browser import DESK, Tab, chromium, tab
from support.command_line import save_rows
from support.serving.in_thread import listening

MakeClient = Callable[..., TestClient]
FIXTURE = Path(__file__).parents[1] / "compatibility" / "fixtures" / "registry"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a finished run and one that was stopped."""
    folder = tmp_path / "runs"
    rows = [
        answer("a good film", "positive", "positive", 0.95),
        answer("a bad film", "negative", "negative", 0.55),
        answer("a gob of drivel", "negative", "positive", 0.8),
        answer("lovely", "positive", "negative", 0.65),
    ]
    save_run(folder / "reviews", rows, score=0.5)
    save_run(folder / "cut", finished=False)
    return folder


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished comparison, called contest; tests that change it copy it."""
    place = tmp_path_factory.mktemp("comparison")
    names = ("majority", "tfidf", "zero-shot", "lora")
    save_comparison(place / "runs" / "contest", place / "models", *names)
    return place / "runs"


@pytest.fixture(scope="session")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished search, called words; tests that change it copy it."""
    place = tmp_path_factory.mktemp("search")
    save_search(place / "runs" / "words", place / "models")
    return place / "runs"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MakeClient]:
    """Makes a browser on a board; it asks for 127.0.0.1."""
    boards: list[BoardApp] = []

    def make(runs: Path, **settings: Any) -> TestClient:
        registry = str(tmp_path / "prompts")
        chosen = {"registry": registry, "flags": TRAIN.names, **settings}
        board = build_board(BoardSettings(runs, **chosen))
        boards.append(board)
        return TestClient(board.app, base_url="http://127.0.0.1")

    yield make
    for board in boards:
        for job in board.jobs.all():
            job.process.kill()
            job.process.wait()
        board.jobs.close()


@pytest.fixture(scope="module")
def browser(comparison: Path, search: Path) -> Iterator[Any]:
    """A browser; runs are made before it, since its loop lets no other run in this thread."""
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
def kinds(work: Path, comparison: Path, search: Path) -> Path:
    """The same with a comparison and a search."""
    shutil.copytree(comparison, work / "runs", dirs_exist_ok=True)
    shutil.copytree(search, work / "runs", dirs_exist_ok=True)
    return work


@pytest.fixture
def url(work: Path) -> Iterator[str]:
    """Of a board."""
    settings = BoardSettings(Path("runs"), "prompts", flags=TRAIN.names)
    board: BoardApp = build_board(settings)
    with listening(board.app) as place:
        yield place
    board.jobs.close()


@pytest.fixture
def desk(browser: Any, url: str) -> Iterator[Tab]:
    """The board in a browser."""
    with tab(browser, url, **DESK) as opened:
        yield opened
