"""A run on a tiny backbone, whose column of texts has a name of its own, and a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.registry import Registry
from cuecard.runs.recipe import Recipe, run_recipe
from support.command_line import save_rows, save_tiny
from support.data.reviews import reviews


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backbone, data and a finished run in it; tests only read it."""
    room = tmp_path_factory.mktemp("room")
    save_tiny(room / "tiny")
    rows = [{"message": r.fields["text"], "label": str(r.target)} for r in reviews(60)]
    save_rows(room / "reviews.csv", rows)
    recipe = {
        "data": {"path": str(room / "reviews.csv"), "text_field": "message"},
        "task": {"template": "Review: {text}\nSentiment:"},
        "backbone": str(room / "tiny"),
        "device": "cpu",
        "method": {"length": 3, "init": "random"},
        "training": {"steps": 2},
        "compare": False,
        "out": str(room / "run"),
    }
    run_recipe(Recipe.parse(recipe))
    return room


@pytest.fixture(scope="session")
def registry(room: Path) -> str:
    """The run's prompt as reviews@1, which is in production."""
    registry = Registry(str(room / "prompts"))
    registry.push(room / "run" / "prompt", "reviews")
    registry.promote("reviews@1", "production")
    return str(room / "prompts")
