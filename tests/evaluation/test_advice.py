"""What is said of a task's data before training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cuecard.evaluation.advice import advice, detectable, few_rows, unbeaten
from cuecard.tasks import Task, TaskSpec
from cuecard.tasks.shots import few_shot_task
from cuecard.types import Interval, Record


def task(labels: tuple[str, ...] = ("no", "yes"), count: int = 900, **options: Any) -> Task:
    spec = TaskSpec(kind="classification", template="{text}:", labels=labels, **options)
    records = [
        Record({"text": f"message {n}"}, labels[n % len(labels)], "m.csv", n + 2)
        for n in range(count)
    ]
    return Task.from_records(spec, records)


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert advice(task()) == ()


def test_few_test_rows() -> None:
    small = task(count=60)
    (sentence,) = advice(small)
    assert f"{len(small.test)} test rows are few" in sentence and "95% interval" in sentence
    assert few_rows(5) == (
        "5 test rows are few: 4 right of 5 has the 95% interval 0.38 to 0.99, and no difference "
        "between two prompts can be shown on them; use more rows, or a test file of their own"
    )
    assert "differ by less than 6 of them (20.0 points) cannot be told apart" in few_rows(30)
    assert few_rows(1).startswith("1 test row is few")
    assert few_rows(0) == few_rows(50) == ""
    assert few_rows(6, right_or_wrong=False) == (
        "6 test rows are few: intervals over them are wide; use more rows, or a test file of their "
        "own"
    )


def test_a_few_shot_draw_says_what_it_can_show() -> None:
    drawn = few_shot_task(task(count=900), 8, 13)
    said = [sentence for sentence in advice(drawn) if "drawn with seed 13" in sentence]
    assert len(said) == 1 and len(drawn.validation) == 16
    assert "on 16 validation rows two prompts that differ by less than 6 of them (37.5" in said[0]
    points = f"{100 * detectable(len(drawn.test)):.1f} points"
    assert f"{len(drawn.test)} test rows tell" in said[0] and points in said[0]


def test_a_difference_of_the_size_that_is_detectable_is_found_four_times_in_five() -> None:
    rows, differ = 400, 0.2
    apart = detectable(rows, differ)
    rng = np.random.default_rng(0)
    shares = [(differ + apart) / 2, (differ - apart) / 2, 1 - differ]
    won, lost, _ = rng.multinomial(rows, shares, size=4000).T
    found = np.abs(won - lost) > 1.96 * np.sqrt(won + lost)
    assert 0.78 < found.mean() < 0.84


@pytest.mark.parametrize("labels", [("0", "1"), ("-1", "0", "1"), ("1.0", "2.0"), ("7", "other")])
def test_labels_that_are_numbers(labels: tuple[str, ...]) -> None:
    (sentence,) = advice(task(labels))
    assert f"--word {labels[0]}=negative" in sentence
    words = {label: f"word{n}" for n, label in enumerate(labels)}
    assert advice(task(labels, words=words)) == ()
    assert advice(task(labels, head="trained")) == ()


def test_labels_without_a_validation_row() -> None:
    rows = [Record({"text": f"row {n}"}, "abc"[n % 3], "t.csv", n + 2) for n in range(300)]
    spec = TaskSpec(kind="classification", template="{text}:", labels=("a", "b", "c"))
    held = {"validation": [r for r in rows[:90] if r.target == "a"], "test": rows[90:180]}
    (sentence,) = advice(Task.from_records(spec, {"train": rows[180:], **held}))
    assert sentence.startswith("no validation row has the labels 'b', 'c': nothing")
    held["validation"] = held["validation"][:2]  # fewer rows than labels
    assert advice(Task.from_records(spec, {"train": rows[180:], **held})) == ()


def test_what_was_removed_and_what_contradicts_itself() -> None:
    spec = TaskSpec(kind="classification", template="{text}:", labels=("a", "b"))
    train = [Record({"text": f"row {n}"}, "ab"[n % 2], "t.csv", n + 2) for n in range(300)]
    test = [Record({"text": f"Row {n}!"}, "a", "u.csv", n + 2) for n in range(0, 120, 2)]
    test += [Record({"text": "row 0"}, "b", "u.csv", 99)]
    (sentence,) = advice(Task.from_records(spec, {"train": train, "test": test}))
    assert "54 of training that are in validation or test, 6 of validation" in sentence
    assert "1 text has more than one label, such as t.csv, row 2 and u.csv, row 99" in sentence


@pytest.mark.parametrize(
    ("tfidf", "start", "said"),
    [
        ((0.01, 0.2), (0.3, 0.5), ""),
        ((0.0, 0.2), (0.3, 0.5), "TF-IDF"),
        ((0.1, 0.2), (-0.1, 0.5), "its own start"),
        ((-math.inf, math.inf), (-0.1, 0.5), "TF-IDF or its own start"),
        (None, (0.3, 0.5), ""),  # not compared
        (None, None, ""),
    ],
)
def test_what_a_prompt_is_not_clearly_better_than(
    tfidf: tuple[float, float] | None, start: tuple[float, float] | None, said: str
) -> None:
    gains = {"tfidf": tfidf, "start": start, "majority": (-0.5, -0.1)}
    report = {f"gain_{key}_ci95": Interval(*g) for key, g in gains.items() if g is not None}
    assert unbeaten(report) == said
