"""Few-shot draws: K rows of each label to train on, K others of each to choose by.

The protocol is that of Gao, Fisch and Chen ("Making Pre-trained Language Models Better Few-shot
Learners", ACL 2021, section 3): as many validation rows as training rows, several draws, and one
test for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError, DataError
from cuecard.tasks.groups import components, forget_forms, keys_of
from cuecard.tasks.splits import Splits, drawn_at, recount
from cuecard.types import Record
from cuecard.validation_text import first_of

if TYPE_CHECKING:
    from cuecard.tasks.kinds.base import TaskKind
    from cuecard.tasks.spec import TaskSpec
    from cuecard.tasks.task import Task

_NAMED = 4  # labels in an error


def check_shots(kind: TaskKind[Any]) -> None:
    """
    Raises:
        ConfigError: rows of this kind do not have one label each.
    """
    if not kind.single_label:
        raise ConfigError(
            "shots are rows per label, and this kind's rows do not have one label each",
            where="data.shots",
            got=f"the kind {kind.name}",
            expected="a classification, or a limit of training rows (data.limit)",
        )


def few_shot_task(task: Task, shots: int, seed: int) -> Task:
    """`few_shot_tasks`, for one seed."""
    return few_shot_tasks(task, shots, (seed,))[seed]


def few_shot_tasks(task: Task, shots: int, seeds: Sequence[int]) -> dict[int, Task]:
    """For each seed the task with `shots` training rows of each label, and as many to validate.

    Rows are drawn by content hash from the training rows, and from the validation rows too where
    these were cut from the training rows; else the validation rows are drawn from their own. Near
    copies, and rows of one group, are on one side. The test rows are the task's, whatever the seed.

    Raises:
        ConfigError: a task whose rows do not have one label each.
        DataError: a label without rows enough.
    """
    spec = task.spec
    check_shots(spec.task_kind)
    shared = "validation" in task.report.cut_from_train
    pool = (*task.train, *(task.validation if shared else ()))
    linked = components([keys_of(record, task.report.group_fields) for record in pool])
    forget_forms()
    labels = [spec.label_of(record) for record in pool]
    own = None if shared else [spec.label_of(record) for record in task.validation]
    found: dict[int, Task] = {}
    for seed in seeds:
        salt = f"shots:{seed}"
        train, validation = _sides(pool, labels, linked, shots, salt)
        if own is not None:
            alone = list(range(len(own)))
            validation, _ = _sides(task.validation, own, alone, shots, salt)
        _check(spec, {"training": train, "validation": validation}, shots, seed)
        found[seed] = _drawn(task, Splits(train, validation, task.test), shots, seed)
    return found


def _sides(
    records: Sequence[Record], labels: Sequence[str], linked: Sequence[int], shots: int, salt: str
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """At most `shots` records of each label, and as many others that share nothing with them.

    Args:
        linked: equal for records that must be on one side.
    """
    order = sorted(range(len(records)), key=lambda number: drawn_at(records[number], salt))
    side_of: dict[int, int] = {}
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    chosen: tuple[list[int], list[int]] = ([], [])
    for number in order:
        label, group = labels[number], linked[number]
        side = side_of.get(group, 0 if counts[0][label] < shots else 1)
        if counts[side][label] < shots:
            side_of[group] = side
            counts[side][label] += 1
            chosen[side].append(number)
    train, validation = (tuple(records[n] for n in sorted(side)) for side in chosen)
    return train, validation


def _check(spec: TaskSpec, sides: Mapping[str, Sequence[Record]], shots: int, seed: int) -> None:
    """
    Raises:
        DataError: a label has fewer rows than it should.
    """
    for name, rows in sides.items():
        counts = Counter(map(spec.label_of, rows))
        short = [f"{counts[label]} of {label!r}" for label in spec.labels if counts[label] < shots]
        if short:
            raise DataError(
                f"too few {name} rows for so many shots",
                where=f"data.shots {shots}, seed {seed}",
                got=first_of(short, _NAMED),
                expected=f"{shots} rows of each label to train on, and {shots} others to validate",
                hint="lower --shots, or leave it out to train on all rows",
            )


def _drawn(task: Task, splits: Splits, shots: int, seed: int) -> Task:
    """The task with other training and validation rows."""
    report = recount(task.report, splits, task.spec.target_text)
    note = (
        f"{shots} training rows of each label and {shots} others to validate, drawn with seed "
        f"{seed}; other draws may score very differently, which no interval over test rows shows"
    )
    report = replace(report, shots=note)
    return replace(task, train=splits.train, validation=splits.validation, report=report)
