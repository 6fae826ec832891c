"""Run folders as `cuecard train` leaves them, written without training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuecard.evaluation.report import ReportRow, write_json
from cuecard.plain_files import write_text
from cuecard.runs.recipe import Recipe
from cuecard.types import Interval

LABELS = ("negative", "positive")


def save_run(
    folder: Path,
    rows: Sequence[Mapping[str, Any]] = (),
    *,
    steps: int = 4,
    finished: bool = True,
    data: str = "reviews.csv",
    score: float = 0.75,
    others: Sequence[tuple[str, float]] = (("majority class", 0.5),),
    **recipe: Any,
) -> Path:
    """A run's folder.

    Args:
        rows: its answers, see `answer`; none leaves no file of them.
        finished: with its result and its report.
        others: what its report compares it with.
        recipe: settings beside the data.
    """
    folder.mkdir(parents=True)
    settings = Recipe.parse({"data": {"path": data}, "method": {"name": "prompt-tuning"}, **recipe})
    (folder / "recipe.yaml").write_text(settings.to_yaml())
    write_text("".join(map(_line, _events(steps, finished))), folder / "log.jsonl")
    if rows:
        write_text("".join(map(_line, rows)), folder / "predictions.jsonl")
    if finished:
        (folder / "result.json").write_text("{}")
        write_json(_report(score, others), folder / "report.json")
    return folder


def answer(text: str, gold: str, said: str, sure: float = 0.9, **fields: str) -> dict[str, Any]:
    """A row of answers, of two labels."""
    other = next(label for label in (*LABELS, gold) if label != said)
    return {
        "row": 2,
        "source": "reviews.csv",
        "fields": {"text": text, **fields},
        "gold": gold,
        "answer": said,
        "correct": gold == said,
        "scores": {said: -0.1, other: -2.0},
        "probabilities": {said: sure, other: round(1.0 - sure, 6)},
    }


def _events(steps: int, finished: bool) -> list[dict[str, Any]]:
    start = {"event": "start", "backbone": "tiny", "method": "prompt-tuning", "steps": steps}
    events: list[dict[str, Any]] = [start]
    for step in range(1, steps + 1):
        events.append({"event": "step", "step": step, "loss": 1.0 / step})
        told = {"validation_loss": 1.1 / step, "validation_accuracy": 0.5 + 0.1 * step}
        events.append({"event": "validation", "step": step, **told})
    return [*events, {"event": "done", "step": steps, "test": 0.75}] if finished else events[:-2]


def _report(score: float, others: Sequence[tuple[str, float]]) -> dict[str, Any]:
    rows = [_row(name, value) for name, value in (*others, ("trained: prompt-tuning", score))]
    return {
        "backbone": "tiny",
        "metric": "accuracy",
        "test_rows": 40,
        "prompt": {"accuracy": score, "ci95": [score - 0.1, min(1.0, score + 0.1)]},
        "gain_best": score - max(value for _, value in others),
        "gain_best_ci95": [0.01, 0.4],
        "table": {
            "columns": ["prompt", "accuracy", "macro-F1", "95% interval"],
            "rows": rows,
            "notes": ["40 test rows, scored once."],
        },
    }


def _row(name: str, score: float) -> ReportRow:
    return ReportRow(
        name, score, score, Interval(score - 0.1, min(1.0, score + 0.1)), 10, 192, 1.0, 0.5
    )


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
