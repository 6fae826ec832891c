"""Comparisons and searches as the command line leaves them, run with a tiny backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cuecard.runs.compare.recipe import CompareRecipe
from cuecard.runs.compare.run import run_compare
from cuecard.runs.search.recipe import SearchRecipe
from cuecard.runs.search.run import run_search
from support.command_line import save_rows, save_tiny
from support.data.reviews import reviews

HOSTILE = "<script>alert(1)</script>"


def save_comparison(folder: Path, models: Path, *names: str, rows: tuple[int, ...] = (16,)) -> Path:
    """A finished comparison of contestants, on some and on all training rows."""
    run_compare(
        CompareRecipe.parse(
            {
                "recipe": _recipe(models, folder) | {"training": {"steps": 2, "batch_rows": 8}},
                "contest": {"contestants": list(names), "rows": list(rows), "rates": 1},
            }
        )
    )
    return folder


def save_search(folder: Path, models: Path, *, budget: str = "900 calls", rounds: int = 2) -> Path:
    """A finished search, of demonstrations and calibration, which need no LLM."""
    run_search(
        SearchRecipe.parse(
            {
                "recipe": _recipe(models, folder),
                "searcher": "demonstrations",
                "budget": budget,
                "search": {"rows": 12, "proposals": 3, "rounds": rounds, "finalists": 2},
            }
        )
    )
    return folder


def _recipe(models: Path, folder: Path) -> dict[str, Any]:
    """What both have in common; the rows hold markup."""
    models.mkdir(parents=True, exist_ok=True)
    if not (models / "tiny").is_dir():
        save_tiny(models / "tiny")
        rows = [
            {"text": f"{record.texts['text']} {HOSTILE}", "label": str(record.target)}
            for record in reviews(80)
        ]
        save_rows(models / "reviews.csv", rows)
    return {
        "data": {"path": str(models / "reviews.csv"), "split": [0.6, 0.2, 0.2]},
        "task": {
            "template": "Review: {text}\nIs:",
            "words": {"negative": "bad", "positive": "good"},
        },
        "backbone": str(models / "tiny"),
        "method": {"name": "prompt-tuning", "length": 2, "init": "random"},
        "out": str(folder),
    }
