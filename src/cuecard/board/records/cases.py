"""A run's answers to its test rows: filtered, sorted, a page at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from cuecard.board.records.index import FileCache, RunPlace
from cuecard.evaluation.cases.case import UNSURE, Case, read_cases
from cuecard.training.storage.result import PREDICTIONS

T = TypeVar("T")
Show = Literal["all", "wrong", "right", "unsure"]
PAGE = 50


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
    return cache.get(place, "cases", stamp, lambda: read_cases(place.folder / PREDICTIONS))


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
