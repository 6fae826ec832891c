"""Answers to records whose truth is not known, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cuecard.plain_files import write_text
from cuecard.types import Prediction, Record


def answer_rows(
    records: Sequence[Record], predictions: Sequence[Prediction]
) -> list[dict[str, Any]]:
    """One mapping per record: its place, its fields, what was answered and how surely.

    Args:
        predictions: those of the records, in the same order.
    """
    return [
        {
            "row": record.row or number,
            "source": record.source,
            "fields": dict(record.texts),
            "answer": prediction.answer,
            "scores": dict(prediction.scores),
            "probabilities": dict(prediction.probabilities),
        }
        for number, (record, prediction) in enumerate(zip(records, predictions, strict=True), 1)
    ]


def save_answers(
    records: Sequence[Record], predictions: Sequence[Prediction], path: str | Path
) -> Path:
    """Write `answer_rows` as JSON lines, whole or not at all."""
    rows = answer_rows(records, predictions)
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    return write_text("".join(lines), path)
