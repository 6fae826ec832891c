"""Runs' folders, and a browser's requests to a board of them."""

from __future__ import annotations

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

MakeClient = Callable[..., TestClient]


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
