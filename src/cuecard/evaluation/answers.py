"""Answers to records whose truth is not known, as JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cuecard.masks import bits_of_runs, png_of
from cuecard.plain_files import sibling, write_text, writing_to
from cuecard.tasks.kinds.base import TaskKind
from cuecard.types import Prediction, Record


def answer_rows(
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    kind: TaskKind[Any] | None = None,
    *,
    first: int = 1,
) -> list[dict[str, Any]]:
    """One mapping per record: its place, its fields, what was answered and how surely.

    Args:
        predictions: those of the records, in the same order.
        kind: the kind of task, for what it says of its answers besides (`TaskKind.details`).
        first: the number of the first record, where they are some of all.
    """
    return [
        {
            "row": record.row or number,
            "source": record.source,
            "fields": dict(record.texts),
            "answer": prediction.answer,
            "scores": dict(prediction.scores),
            "probabilities": dict(prediction.probabilities),
            **({} if kind is None else kind.details(prediction)),
        }
        for number, (record, prediction) in enumerate(zip(records, predictions, strict=True), first)
    ]


def save_answers(
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    path: str | Path,
    kind: TaskKind[Any] | None = None,
    *,
    first: int = 1,
) -> Path:
    """Write `answer_rows` as JSON lines, whole or not at all."""
    rows = answer_rows(records, predictions, kind, first=first)
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    return write_text("".join(lines), path)


def save_masks(
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    folder: str | Path,
    *,
    first: int = 1,
) -> Path:
    """Write the masks as PNG files, white for the part, all of them or none.

    A file is called as its record's own file, or by the number of the row.

    Args:
        first: the number of the first record, where they are some of all.

    Raises:
        FileError: the folder is not empty, or cannot be written.
    """
    place, names = Path(folder), set[str]()
    fresh = sibling(place.absolute())
    with writing_to(place):
        fresh.mkdir(parents=True)
        try:
            pairs = zip(records, predictions, strict=True)
            for number, (record, found) in enumerate(pairs, first):
                name = f"row-{record.row}" if record.row else Path(record.source).stem
                while not name or name in names:
                    name = f"{name or 'row'}-{number}"
                names.add(name)
                (fresh / f"{name}.png").write_bytes(png_of(bits_of_runs(found.answer)))
            fresh.replace(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return place
