"""A data set's few examples, and its test rows, which are kept apart until the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from cuecard.errors import DataError
from cuecard.tasks import Splits, Task, draw_rows
from cuecard.tasks.splits import recount
from cuecard.tasks.stratified import draw_stratified
from cuecard.types import Record

_SALT = "vtab"


@dataclass(frozen=True)
class SealedTask:
    """The two tasks that are trained on, neither of which has test rows, and the test.

    Attributes:
        name: what reports call the data.
        group: what it is averaged with.
        selection: some examples to train on and the others to choose by.
        retraining: all examples; those to choose by are among them, and choose nothing.
        sealed: the test rows; whoever trains is not handed this object.
        test_rows: how many the data has.
    """

    name: str
    group: str
    selection: Task
    retraining: Task
    sealed: tuple[Record, ...]
    test_rows: int

    @classmethod
    def of(
        cls,
        name: str,
        group: str,
        task: Task,
        *,
        examples: int,
        selection_rows: int,
        test_rows: int | None,
    ) -> Self:
        """Draw the examples, each label by its share, from what is not the task's test.

        Args:
            task: its test rows are sealed; no copy of them is among the others.
            selection_rows: examples that train while settings are chosen.
            test_rows: keep at most so many of the test's.

        Raises:
            DataError: fewer rows than examples, or no test rows.
        """
        given = (*task.train, *task.validation)
        if len(given) < examples or not task.test:
            raise DataError(
                "the data has too few rows for the protocol",
                where=name,
                got=f"{len(given):,} to train on, {len(task.test):,} to test on",
                expected=f"{examples:,} examples, and a test",
                hint="take fewer examples" if task.test else None,
            )
        label_of = task.spec.label_of
        every = draw_stratified(given, examples, _SALT, label_of)
        train = draw_stratified(every, selection_rows, f"{_SALT}:train", label_of)
        inside = {id(record) for record in train}
        chooses = tuple(record for record in every if id(record) not in inside)
        test = task.test if test_rows is None else draw_rows(task.test, test_rows, _SALT)
        return cls(
            name,
            group,
            _without_test(task, train, chooses),
            _without_test(task, every, chooses),
            test,
            len(task.test),
        )


def _without_test(task: Task, train: tuple[Record, ...], validation: tuple[Record, ...]) -> Task:
    splits = Splits(train, validation, ())
    report = recount(task.report, splits)
    return replace(task, train=train, validation=validation, test=(), report=report)
