"""A tiny backbone on disk, a run trained on it, and the command line as a call."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from cuecard.runs.recipe import Recipe, run_recipe
from support.command_line import Call, run_in_process, save_rows, save_tiny
from support.data.reviews import reviews

WORDS = {"negative": "bad", "positive": "good"}


@pytest.fixture
def cuecard(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command as the shell does, in this process."""
    monkeypatch.setenv("COLUMNS", "160")
    return partial(run_in_process, capsys)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews whose text column is called review."""
    rows = [{"review": r.fields["text"], "label": str(r.target)} for r in reviews(80)]
    return save_rows(tmp_path_factory.mktemp("data") / "reviews.csv", rows)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, backbone: Path, data: Path) -> Path:
    """A finished run; tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "reviews"
    recipe = Recipe.parse(
        {
            "data": {"path": str(data), "text_field": "review"},
            "task": {"template": "Review: {text}\nSentiment:", "words": WORDS},
            "backbone": str(backbone),
            "method": {"length": 4, "init": "vocabulary"},
            "training": {"steps": 6, "batch_rows": 8},
            "compare": False,
            "out": str(folder),
        }
    )
    run_recipe(recipe)
    return folder
