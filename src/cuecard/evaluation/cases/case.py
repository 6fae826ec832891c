"""A row and what was answered to it, as `Evaluation.save_predictions` leaves it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.errors import DataError

UNSURE = 0.2
"""An answer whose probability is not further than this from the next label's is unsure."""


@dataclass(frozen=True)
class Case:
    """A row and what was answered.

    Attributes:
        number: the row's place in the file, from 1.
        key: the same for the same inputs and truth, in whatever run; see `case_key`.
        fields: the inputs by name.
        correct: None where answers are near or far rather than right or wrong.
        probability: of the answer; None where it has none.
        margin: how far the next label's is below it.
        probabilities: by label, the largest first.
        values: further numbers of the row, such as an error.
        source, row: the file it came from, and its row there.
    """

    number: int
    key: str
    fields: Mapping[str, str]
    gold: str
    answer: str
    correct: bool | None
    probability: float | None
    margin: float | None
    probabilities: Mapping[str, float]
    values: Mapping[str, float]
    source: str
    row: int


def read_cases(path: Path) -> list[Case]:
    """The cases of a file of answers.

    Raises:
        DataError: it cannot be read, or is broken.
    """
    try:
        seen: Counter[str] = Counter()
        return [_case(n, row, seen) for n, row in enumerate(read_predictions(path), 1)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError("the file of answers cannot be read", where=str(path), got=error) from error


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """The rows of a `predictions.jsonl`, see `Evaluation.save_predictions`.

    Raises:
        OSError, ValueError: it cannot be read, or is not whole.
    """
    # By bytes: a row's text may hold characters that end a line for `str.splitlines`.
    return [json.loads(line) for line in path.read_bytes().splitlines()]


_KNOWN = {"row", "source", "fields", "gold", "answer", "correct", "scores", "probabilities"}


def _case(number: int, row: Mapping[str, Any], seen: Counter[str]) -> Case:
    fields = {str(name): str(text) for name, text in row["fields"].items()}
    gold, answer = str(row["gold"] or ""), str(row["answer"])
    shares = {str(k): float(v) for k, v in row["probabilities"].items()}
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    first, second = (*list(ordered.values())[:2], 0.0, 0.0)[:2]
    bare = case_key(fields, gold)
    seen[bare] += 1
    return Case(
        number=number,
        key=f"{bare}-{seen[bare]}",
        fields=fields,
        gold=gold,
        answer=answer,
        correct=row.get("correct"),
        probability=ordered.get(answer),
        margin=first - second if len(ordered) > 1 else None,
        probabilities=ordered,
        values={k: float(v) for k, v in row.items() if k not in _KNOWN},
        source=str(row["source"] or ""),
        row=int(row["row"] or 0),
    )


def case_key(fields: Mapping[str, str], gold: str) -> str:
    """A digest of a row's inputs and truth."""
    told = json.dumps([sorted(fields.items()), gold])
    return hashlib.sha256(told.encode("ascii")).hexdigest()[:20]
