"""Targets as values, and as the texts that are hashed, written and given by older programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import DataError
from cuecard.evaluation import score_predictions
from cuecard.tasks import Task, TaskSpec
from cuecard.types import Answer, Image, Prediction, Record, Value, value_text
from support.data.head_tasks import (
    ANSWER,
    CHOICE,
    NUMBER,
    SEVERAL,
    TAGS,
    answer_task,
    several_task,
    split,
    tag_task,
)

# Of these tasks when their targets were texts with the parts packed into them.
HASHES: dict[Callable[[], Task], str] = {
    several_task: "58c0c7c12e746761a12e314649a38af5d96308778556187e9b350c19b0344767",
    tag_task: "e79e268a4de748d2753decb0c92ff4e36d38be08511d4a4428c5d8bd42cf6317",
    answer_task: "c28e3ef598e6820a352070e6bcb4d08c58fe2ae10ec69a3858fbddd9d7672b59",
}


@pytest.mark.parametrize(
    ("value", "separator", "text"),
    [
        ("a", None, "a"),
        ("a", ",", "a"),
        (("a", "é"), None, '["a", "é"]'),
        (("a", "é"), ";", "a;é"),
        ((), " ", ""),
        ((), None, "[]"),
        ((Answer("é", 3), Answer("b", 0)), None, '{"text": ["é", "b"], "answer_start": [3, 0]}'),
        (Image(b"a"), None, f"sha256:{Image(b'a').digest}"),
    ],
)
def test_a_value_as_text(value: Value, separator: str | None, text: str) -> None:
    assert value_text(value, separator) == text


@pytest.mark.parametrize("make", HASHES)
def test_what_is_hashed_of_a_target_stays(make: Callable[[], Task]) -> None:
    task = make()
    assert task.report.data_hash == HASHES[make]
    every = [record for part in (task.train, task.validation, task.test) for record in part]
    assert split(task.spec, every).report.data_hash == HASHES[make]


def test_a_text_is_hashed_as_it_is_given() -> None:
    """Whoever wrote labels in another order still has the data of that run."""
    texts = [Record({"text": str(i)}, "fun,dog") for i in range(4)]
    values = [replace(record, target=("fun", "dog")) for record in texts]
    one, other = (Task.from_records(SEVERAL, rows, split=(1, 0, 0)) for rows in (texts, values))
    assert one.train == other.train and one.train[0].target == ("dog", "fun")
    assert [*one.report.labels["train"]] == ["fun,dog"]
    assert [*other.report.labels["train"]] == ["dog,fun"]


def test_predictions_name_the_truth_as_text(tmp_path: Path) -> None:
    record = Record({"tokens": "a b"}, ("O", "B-PER"))
    found = score_predictions(TAGS, [record], [Prediction(0, "O B-PER", {}, {})])
    assert found.score == 1.0
    assert '"gold": "O B-PER", "answer": "O B-PER"' in found.save_predictions(
        tmp_path / "a.jsonl"
    ).read_text(encoding="utf-8")


CONTEXT = {"question": "q", "context": "a fox"}
WRONG: list[tuple[TaskSpec, dict[str, Value], Any, str]] = [
    (SEVERAL, {"text": "a"}, ("cat",), "not in the list"),
    (SEVERAL, {"text": "a"}, ("dog,fox",), "contains the separator"),
    (SEVERAL, {"text": "a"}, Image(b"a"), "not a list"),
    (SEVERAL, {"text": "a"}, (Answer("a", 0),), "not text"),
    (TAGS, {"tokens": "a b"}, ("O",), "differs from"),
    (TAGS, {"tokens": "a b"}, ("O", "B-X"), "not in the list"),
    (TAGS, {"tokens": "a b"}, ("O", "O O"), "contains the separator"),
    (ANSWER, CONTEXT, "fox", "not a list"),
    (ANSWER, CONTEXT, "3", "cannot be read"),
    (ANSWER, CONTEXT, ("fox",), "not in its context"),
    (ANSWER, CONTEXT, (Answer("fox", 1),), "not in its context"),
    (ANSWER, CONTEXT, (), "has no answer"),
    (CHOICE, {"question": "q", "options": ("a", "b")}, ("a", "b"), "not in the list"),
    (CHOICE, {"question": "q", "options": "a or b"}, "a", "not a list"),
    (CHOICE, {"question": "q", "options": '{"a": 1}'}, "a", "not a list"),
    (NUMBER, {"text": "a"}, ("1",), "not a number"),
]


@pytest.mark.parametrize(("spec", "fields", "target", "match"), WRONG)
def test_values_that_are_no_target(
    spec: TaskSpec, fields: dict[str, Value], target: Any, match: str
) -> None:
    with pytest.raises(DataError, match=match):
        Task.from_records(spec, [Record(fields, target)], split=(1, 0, 0))
