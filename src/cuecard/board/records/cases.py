"""A run's answers to its test rows: filtered, sorted, a page at a time."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from cuecard.board.records.index import FileCache, RunPlace
from cuecard.errors import DataError
from cuecard.training.storage.result import PREDICTIONS, read_predictions

T = TypeVar("T")
Show = Literal["all", "wrong", "right", "unsure"]
PAGE = 50
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


@dataclass(frozen=True)
class CaseFilter:
    """Which cases are shown.

    Attributes:
        show: all, or one sort of them.
        gold, answer: only this truth, this answer; empty for any.
        text: only where an input, the truth or the answer contains this.
    """

    show: Show = "all"
    gold: str = ""
    answer: str = ""
    text: str = ""

    def keeps(self, case: Case) -> bool:
        """Whether a case is shown."""
        if (self.gold and case.gold != self.gold) or (self.answer and case.answer != self.answer):
            return False
        if not _SORTS[self.show](case):
            return False
        wanted = self.text.casefold()
        texts = (*case.fields.values(), case.gold, case.answer)
        return not wanted or any(wanted in text.casefold() for text in texts)


_SORTS: Mapping[Show, Callable[[Case], bool]] = {
    "all": lambda case: True,
    "wrong": lambda case: case.correct is False,
    "right": lambda case: case.correct is True,
    "unsure": lambda case: case.margin is not None and case.margin < UNSURE,
}


def cached_cases(place: RunPlace, cache: FileCache) -> list[Case] | None:
    """A run's cases; None where its folder has no answers.

    Raises:
        DataError: the file of answers is broken.
    """
    stamp = place.stamp(PREDICTIONS)
    if stamp is None:
        return None
    return cache.get(place, "cases", stamp, lambda: _read(place))


def _read(place: RunPlace) -> list[Case]:
    path = place.folder / PREDICTIONS
    try:
        seen: Counter[str] = Counter()
        return [_case(n, row, seen) for n, row in enumerate(read_predictions(path), 1)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError("the file of answers cannot be read", where=str(path), got=error) from error


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


def paged(rows: Sequence[T], page: int, size: int = PAGE) -> tuple[Sequence[T], int, int]:
    """A page of rows, its number from 1 within what there is, and how many there are."""
    pages = max(1, -(-len(rows) // size))
    page = min(max(1, page), pages)
    return rows[(page - 1) * size : page * size], page, pages


def labels_in(cases: Sequence[Case]) -> tuple[list[str], list[str]]:
    """The truths and the answers that occur, commonest first; empty where nearly all differ."""
    found = []
    for values in ([case.gold for case in cases], [case.answer for case in cases]):
        counts = Counter(values)
        few = len(counts) <= max(2, len(values) // 2) and len(counts) <= _MOST_LABELS
        found.append([value for value, _ in counts.most_common()] if few else [])
    return found[0], found[1]


_MOST_LABELS = 200
