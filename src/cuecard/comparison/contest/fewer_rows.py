"""A task with fewer rows to learn from, for a learning curve."""

from __future__ import annotations

from dataclasses import replace

from cuecard.tasks import Splits, Task, draw_rows
from cuecard.tasks.splits import recount
from cuecard.tasks.stratified import draw_stratified

_SALT = "learning curve"


def fewer_rows(task: Task, count: int) -> Task:
    """The task with so many training rows, and as many validation rows at most.

    Whoever has few rows has few to choose by, too. Rows are drawn by content, each label by its
    share where rows have one label; the test rows stay.
    """
    spec = task.spec
    train, validation = (
        draw_stratified(rows, count, _SALT, spec.label_of)
        if spec.task_kind.single_label
        else draw_rows(rows, count, _SALT)
        for rows in (task.train, task.validation)
    )
    splits = Splits(train, validation, task.test)
    report = recount(task.report, splits, spec.target_text)
    return replace(task, train=train, validation=validation, report=report)
