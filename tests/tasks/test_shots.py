"""Few-shot draws: so many rows of each label, on two sides that share nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cuecard.errors import ConfigError, DataError
from cuecard.tasks import Task
from cuecard.tasks.shots import few_shot_task, few_shot_tasks
from cuecard.types import Record
from support.data.reviews import SPEC, review_task, reviews, title_task


def labels(rows: tuple[Record, ...]) -> Counter[str | None]:
    return Counter(record.target for record in rows)


def texts(rows: Sequence[Record]) -> set[str]:
    return {record.text("text") for record in rows}


def test_each_seed_has_its_own_rows_and_the_same_test() -> None:
    task = review_task(120)
    drawn = few_shot_tasks(task, 8, (13, 21))
    for found in drawn.values():
        assert labels(found.train) == labels(found.validation) == {"negative": 8, "positive": 8}
        assert not texts(found.train) & texts(found.validation) and found.test == task.test
        assert texts((*found.train, *found.validation)) <= texts((*task.train, *task.validation))
        assert found.report.rows == {"train": 16, "validation": 16, "test": len(task.test)}
    assert texts(drawn[13].train) != texts(drawn[21].train)
    assert drawn[13].report.data_hash != drawn[21].report.data_hash != task.report.data_hash
    assert "drawn with seed 13" in drawn[13].report.shots and not task.report.shots


def test_content_alone_decides() -> None:
    records = reviews(120)
    one, other = (
        few_shot_task(Task.from_records(SPEC, rows, split=(0.6, 0.2, 0.2)), 8, 13)
        for rows in (records, records[::-1])
    )
    assert texts(one.train) == texts(other.train) and texts(one.validation) == texts(
        other.validation
    )


def test_rows_of_one_group_are_on_one_side() -> None:
    records = [replace(r, group=f"person {n // 6}") for n, r in enumerate(reviews(240))]
    task = Task.from_records(SPEC, records, split=(0.6, 0.2, 0.2))
    for seed, found in few_shot_tasks(task, 16, range(5)).items():
        sides = [{r.group for r in rows} for rows in (found.train, found.validation)]
        assert not sides[0] & sides[1], seed
        assert labels(found.train) == {"negative": 16, "positive": 16}


def test_given_validation_rows_are_drawn_from() -> None:
    rows = reviews(120)
    given = {"train": rows[:60], "validation": rows[60:100], "test": rows[100:]}
    found = few_shot_task(Task.from_records(SPEC, given), 8, 13)
    assert texts(found.train) <= texts(rows[:60]) and texts(found.validation) <= texts(rows[60:100])
    assert labels(found.validation) == {"negative": 8, "positive": 8}


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(DataError, match="too few training rows") as error:
        few_shot_task(review_task(60), 30, 13)
    assert error.value.where == "data.shots 30, seed 13" and "'negative'" in str(error.value)
    with pytest.raises(DataError, match="too few validation rows"):
        few_shot_task(review_task(60), 18, 13)
    with pytest.raises(ConfigError, match="shots are rows per label"):
        few_shot_task(title_task(60), 2, 13)
