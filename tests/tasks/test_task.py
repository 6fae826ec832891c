from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConfigError, DataError, DataWarning, TemplateError
from cuecard.tasks.labels import find_labels
from cuecard.tasks.task import Task, TaskSpec
from cuecard.types import Record

Write = Callable[[str, str | bytes], Path]
SPEC = TaskSpec(kind="classification", template="{text}:", labels=("a", "b"))


def table(count: int, start: int = 0, header: str = "text,label") -> str:
    rows = [f"text number {index},{'ab'[index % 2]}" for index in range(start, start + count)]
    return "\n".join([header, *rows])


def test_a_file_becomes_a_task(write: Write) -> None:
    path = write("a.csv", table(300))
    task = Task.from_file(path)
    assert task.spec == TaskSpec(
        kind="classification", template="{text}\nLabel:", labels=("a", "b")
    )
    sizes = [len(task.train), len(task.validation), len(task.test)]
    assert sum(sizes) == 300
    assert sizes[0] > 200
    assert task.report.rows == dict(zip(("train", "validation", "test"), sizes, strict=True))
    assert task.report.cut_from_train == ("validation", "test")
    assert task == Task.from_file(path)
    assert task.train != Task.from_file(path, seed=1).train


def test_the_order_of_labels_and_other_settings_are_kept(write: Write) -> None:
    task = Task.from_file(
        write("a.csv", table(300, header="review body,stars")),
        template="Review: {text}\nSentiment:",
        labels=["b", "a"],
        text_field="review body",
        label_field="stars",
        words={"a": "bad"},
        chat=True,
        system="Be brief.",
        max_length=99,
        normalize="length",
        split=(0.5, 0.25, 0.25),
        limit=50,
    )
    assert task.spec.labels == ("b", "a")
    assert task.spec.verbalizer.words == {"b": "b", "a": "bad"}
    assert (task.spec.target_field, task.spec.max_length) == ("stars", 99)
    assert (task.spec.chat, task.spec.system, task.spec.normalize) == (True, "Be brief.", "length")
    assert len(task.train) == task.report.rows["train"] == 50
    assert len(task.test) > 50
    assert task.train[0].fields["text"].startswith("text number")


def test_given_files_are_respected_and_their_texts_leave_training(write: Write) -> None:
    task = Task.from_file(
        write("a.csv", table(100)),
        validation=write("v.csv", table(20, start=90)),
        test=write("t.csv", table(20, start=105)),
    )
    assert (len(task.train), len(task.validation), len(task.test)) == (90, 15, 20)
    assert (task.report.train_in_held_out, task.report.validation_in_test) == (10, 5)
    assert task.report.cut_from_train == ()


def test_only_what_is_not_given_is_cut_from_training(write: Write) -> None:
    test = write("t.csv", table(20, start=1000))
    task = Task.from_file(write("a.csv", table(300)), test=test)
    assert len(task.test) == 20
    assert len(task.train) + len(task.validation) == 300
    assert 15 < len(task.validation) < 60
    assert task.report.cut_from_train == ("validation",)


def test_cutting_cannot_take_all_of_training(write: Write) -> None:
    test = write("t.csv", table(20, start=1000))
    with pytest.raises(ConfigError, match="nothing for training"):
        Task.from_file(write("a.csv", table(30)), test=test, split=(0, 0, 1))


def test_a_set_cannot_be_given_twice(write: Write) -> None:
    path = write("a.csv", "text,label,part\nx,a,train\ny,b,test\n")
    with pytest.raises(ConfigError, match="two test sets"):
        Task.from_file(path, split_field="part", test=write("t.csv", table(9)))


def test_text_to_text(write: Write) -> None:
    rows = [{"question": f"q{index}", "answer": f"answer {index}"} for index in range(250)]
    task = Task.from_file(
        write("a.jsonl", "\n".join(map(json.dumps, rows))),
        kind="text-to-text",
        text_field="question",
        label_field="answer",
        max_new_tokens=9,
    )
    assert task.spec.template == "{text}\nAnswer:"
    assert (task.spec.labels, task.spec.max_new_tokens) == ((), 9)
    assert task.report.labels == {}


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"labels": ["a", "c"]}, DataError, "not in the list"),
        ({"label_field": "lable"}, DataError, "no column 'lable'"),
        ({"template": "{review}:"}, DataError, "no column 'review'"),
        ({"template": "{label}:", "text_field": "text"}, ConfigError, "has no {text}"),
        ({"template": "{text"}, TemplateError, "opening brace"),
        ({"label_field": "text"}, ConfigError, "template shows the answer"),
        ({"template": "{text} ({label})"}, ConfigError, "template shows the answer"),
        (
            {"kind": "regression", "text_field": "label", "label_field": "label"},
            ConfigError,
            "template shows the answer",
        ),
        ({"label_field": "text", "template": "{label}:"}, ConfigError, "too many different labels"),
        ({"split": (0.5, 0.5, 0.5)}, ConfigError, "fractions"),
        ({"split": (0.5, 0.5)}, ConfigError, "fractions"),
        ({"split": (0.0, 0.5, 0.5)}, DataError, "no rows are left for train"),
        ({"limit": 0}, ConfigError, "limit"),
        ({"max_length": -1}, ConfigError, "invalid setting"),
        ({"maxlength": 3}, ConfigError, "unknown setting"),
    ],
)
def test_a_users_mistake_is_named(
    write: Write, options: dict[str, Any], error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what):
        Task.from_file(write("a.csv", table(300)), **options)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_from_the_training_file_is_refused(write: Write, split: str) -> None:
    path = write("a.csv", table(50))
    with pytest.raises(ConfigError, match=f"the {split} rows are read from the file of the train"):
        Task.from_file(path, **{split: path})


def test_a_label_only_the_test_has_names_its_row(write: Write) -> None:
    test = write("t.csv", "text,label\nx,a\ny,c\n")
    with pytest.raises(DataError, match="not in the list") as caught:
        Task.from_file(write("a.csv", table(50)), test=test)
    assert caught.value.where == f"{test}, row 3"


def test_too_few_rows_to_split_is_an_error(write: Write) -> None:
    with pytest.raises(DataError, match="no rows are left for") as caught:
        Task.from_file(write("a.csv", table(2)))
    assert "more rows" in str(caught.value.hint)


def test_columns_that_are_swapped_are_guessed(write: Write) -> None:
    rows = "".join(f"{'ab'[index % 2]},review {index}\n" for index in range(100))
    with pytest.raises(DataError, match="no rows are left for") as caught:
        Task.from_file(write("a.csv", f"text,label\n{rows}"))
    assert "--label-field" in str(caught.value.hint)


def test_records_in_memory() -> None:
    records = [Record({"text": str(index)}, "ab"[index % 2]) for index in range(100)]
    task = Task.from_records(SPEC, records, split=(0.9, 0.1, 0))
    assert len(task.train) + len(task.validation) == 100
    assert task.test == ()
    parts = {"train": records[:50], "validation": records[50:70], "test": records[70:]}
    given = Task.from_records(SPEC, parts)  # type: ignore[arg-type]
    assert given.train == tuple(records[:50])


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (Record({"text": "x"}, None, "f", 3), DataError),
        (Record({"text": "x"}, "c", "f", 3), DataError),
        (Record({"txt": "x"}, "a", "f", 3), TemplateError),
    ],
)
def test_a_record_that_does_not_fit_is_refused(record: Record, error: type[Exception]) -> None:
    with pytest.raises(error):
        Task.from_records(SPEC, [record])


def test_labels_are_found_and_sorted() -> None:
    rows = [Record({}, target) for target in ("b", "a", None, "b")]
    assert find_labels(rows, "f", SPEC) == ("a", "b")
    with pytest.raises(ConfigError, match="only one label"):
        find_labels(rows[:1], "f", SPEC)
    with pytest.raises(ConfigError, match="text-to-text"):
        find_labels([Record({}, str(index)) for index in range(201)], "f", SPEC)


def test_labels_that_no_training_row_has_are_named(write: Write) -> None:
    rows = "".join(f"text number {n},{'rare' if n == 7 else 'often'}\n" for n in range(40))
    path = write("a.csv", f"text,label\n{rows}")
    with pytest.warns(DataWarning, match=r"no training row within the limit of 1 and"):
        task = Task.from_file(path, limit=1)
    assert task.spec.labels == ("often", "rare")


def test_a_field_that_may_be_empty(write: Write) -> None:
    rows = "".join(f"do {n},{'' if n % 2 else n},{'ab'[n % 3 == 0]}\n" for n in range(30))
    path = write("a.csv", f"task,input,label\n{rows}")
    template = "{task}\n{input}\nAnswer:"
    task = Task.from_file(path, template=template, allow_empty=("input",))
    assert task.spec.allow_empty == ("input",)
    assert "allow_empty" not in TaskSpec(
        kind="classification", template=template, labels=("a", "b")
    ).model_dump(mode="json")
    for wrong, said in (
        (("inptu",), "did you mean 'input'"),
        (("task", "input"), "must have text"),
    ):
        with pytest.raises(ConfigError, match=said):
            Task.from_file(path, template=template, allow_empty=wrong)


def test_labels_that_look_alike_are_named() -> None:
    labels = ("late", "l\u200bate", "early")
    spec = TaskSpec(kind="classification", template="{text} :", labels=labels)
    rows = [Record({"text": f"text {i}"}, labels[i % 3]) for i in range(60)]
    with pytest.warns(DataWarning, match=r"labels look alike: 'late' and 'l.u200bate'"):
        Task.from_records(spec, rows)


def test_a_thousand_labels_are_labels_where_rows_share_them() -> None:
    rows = [Record({"text": f"text {i}"}, f"class {i % 1000}") for i in range(3000)]
    assert len(find_labels(rows, "f", SPEC)) == 1000
    with pytest.raises(ConfigError, match="too many different labels") as caught:
        find_labels(rows[:1000], "f", SPEC)
    assert "1,000 different labels in 1,000 rows" in str(caught.value.got)
    many = [Record({"text": f"text {i}"}, f"class {i % 2001}") for i in range(9000)]
    with pytest.raises(ConfigError, match="too many different labels") as caught:
        find_labels(many, "f", SPEC)
    assert "task.labels" in str(caught.value.hint)
