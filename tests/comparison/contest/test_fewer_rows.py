"""Fewer rows to learn from, and the same test."""

from __future__ import annotations

from collections import Counter

from cuecard.comparison.contest.fewer_rows import fewer_rows
from support.data.head_tasks import number_task
from support.data.reviews import review_task


def test_labels_keep_their_shares_and_the_test_stays() -> None:
    task = review_task(200)
    few, more = fewer_rows(task, 10), fewer_rows(task, 60)
    assert (len(few.train), len(few.validation)) == (10, 10)
    assert len(more.train) == 60 and len(more.validation) == len(task.validation) < 60
    assert few.test == more.test == task.test
    counts = Counter(str(row.target) for row in few.train)
    whole = Counter(str(row.target) for row in task.train)
    for label in whole:
        assert abs(counts[label] - 10 * whole[label] / len(task.train)) <= 1
    assert {id(row) for row in few.train} < {id(row) for row in more.train}
    hashes = {one.report.data_hash for one in (task, few, more)}
    assert len(hashes) == 3
    assert few.report.rows == {"train": 10, "validation": 10, "test": len(task.test)}


def test_rows_without_one_label_each_are_drawn_by_content() -> None:
    few = fewer_rows(number_task(80), 7)
    assert len(few.train) == len(few.validation) == 7
