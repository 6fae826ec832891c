"""Cells that are no plain texts: what is read of them, and errors with the file and the row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import DataError
from cuecard.tasks import Task
from cuecard.types import Answer

TWO = [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": []}, {"text": "c", "label": "y"}]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, kind: str, **options: Any) -> Task:
    return Task.from_file(path, kind=kind, split=(1, 0, 0), **options)


def test_labels_as_lists_and_texts(tmp_path: Path) -> None:
    task = read(write(tmp_path / "a.jsonl", TWO), "multi-label")
    assert task.spec.labels == ("x", "y")
    assert [record.target for record in task.train] == [("x", "y"), (), ("y",)]


def test_labels_with_a_separator_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\na,y; x\nb,\nc,"[""x"", ""y""]"\nd,[]\ne,[x\n', encoding="utf-8")
    task = read(path, "multi-label", separator=";")
    held = [("x", "y"), (), ("x", "y"), (), ("[x",)]
    assert [record.target for record in task.train] == held


def test_labels_as_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,rude,spam\na,1,0\nb,0,0\nc,1,1\n", encoding="utf-8")
    task = read(path, "multi-label", label_field="rude, spam")
    assert task.spec.labels == ("rude", "spam")
    assert [record.target for record in task.train] == [("rude",), (), ("rude", "spam")]
    assert task.train[0].fields == {"text": "a"}


def test_numbers_are_standardised_on_training_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,1\nb,2.5\nc,-0.5\n", encoding="utf-8")
    own = read(path, "regression").spec.own
    assert own == {"mean": pytest.approx(1.0), "scale": pytest.approx(1.5**0.5)}


def test_options_of_both_forms(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "a", "options": ["u", "v"], "label": 1},
        {"question": "b", "options": ["u", "v", "w"], "label": "w"},
    ]
    task = read(write(tmp_path / "a.jsonl", rows), "multiple-choice")
    assert [record.target for record in task.train] == ["v", "w"]
    path = tmp_path / "a.csv"
    path.write_text("question,A,B,C,label\na,u,v,,B\nb,u,v,w,2\n", encoding="utf-8")
    task = read(path, "multiple-choice", options_field="A,B,C")
    assert [record.target for record in task.train] == ["v", "w"]
    assert task.train[0].fields["options"] == ("u", "v")
    path.write_text('question,options,label\na,"[""u"", ""v""]",1\n', encoding="utf-8")
    (record,) = read(path, "multiple-choice").train
    assert record.fields["options"] == ("u", "v") and record.target == "v"


def test_words_and_tags(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"tokens": "in Bonn", "tags": "O B-LOC"},
    ]
    task = read(write(tmp_path / "a.jsonl", rows), "tagging")
    assert task.spec.labels == ("O", "B-LOC", "B-ORG")
    assert [(r.fields["tokens"], r.target) for r in task.train] == [
        ("EU rejects", ("B-ORG", "O")),
        ("in Bonn", ("O", "B-LOC")),
    ]


def test_answers_of_every_form(tmp_path: Path) -> None:
    forms: list[Any] = [
        {"text": ["fox", "a fox"], "answer_start": [2, 0]},
        {"text": "fox", "answer_start": 2},
        ["fox"],
        "fox",
        [{"text": "fox", "answer_start": 2}],
    ]
    rows = [{"question": f"{i}", "context": "a fox", "answers": a} for i, a in enumerate(forms)]
    task = read(write(tmp_path / "a.jsonl", rows), "extractive-qa")
    assert task.train[0].target == (Answer("fox", 2), Answer("a fox", 0))
    assert [record.target for record in task.train[1:]] == [(Answer("fox", 2),)] * 4


def test_squads_own_files(tmp_path: Path) -> None:
    question = {"id": "1", "question": "who", "answers": [{"text": "fox", "answer_start": 2}]}
    document = {"data": [{"paragraphs": [{"context": "a fox", "qas": [question]}]}]}
    path = tmp_path / "train-v1.1.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    (record,) = read(path, "extractive-qa").train
    assert record.fields == {"question": "who", "context": "a fox"} and record.row == 1


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("regression", {"text": "a", "label": "many"}, "not a number"),
    ("regression", {"text": "a", "label": "nan"}, "not a number"),
    ("regression", {"text": "a", "label": True}, "not a number"),
    ("multi-label", {"text": "a", "label": ["z"]}, "not in the list"),
    ("multi-label", {"text": "a", "label": ["x,y"]}, "contains the separator"),
    ("multi-label", {"text": "a", "label": [["x"]]}, "not text"),
    ("multi-label", {"text": "a", "label": 3}, "not a list"),
    ("multiple-choice", {"question": "a", "options": ["u"], "label": "u"}, "too few"),
    ("multiple-choice", {"question": "a", "options": "u", "label": "u"}, "not a list"),
    ("multiple-choice", {"question": "a", "options": ["u", "v"], "label": "w"}, "not one of the"),
    ("multiple-choice", {"question": "a", "options": ["u", "v"], "label": 2}, "not one of the"),
    ("tagging", {"tokens": ["a", "b"], "tags": ["O"]}, "differs from"),
    ("tagging", {"tokens": ["a b"], "tags": ["O"]}, "has a space"),
    ("tagging", {"tokens": [], "tags": []}, "sentence is empty"),
    ("tagging", {"tokens": ["a"], "tags": ["B-X"]}, "not in the list"),
    ("extractive-qa", {"question": "a", "context": "b", "answers": "c"}, "not in its context"),
    ("extractive-qa", {"question": "a", "context": "b", "answers": []}, "has no answer"),
    ("extractive-qa", {"question": "a", "context": "b", "answers": [""]}, "answer is empty"),
    ("extractive-qa", {"question": "a", "context": "b", "answers": 3}, "cannot be read"),
    (
        "extractive-qa",
        {"question": "a", "context": "bc", "answers": {"text": ["c"], "answer_start": [0]}},
        "not in its context",
    ),
]
GOOD: dict[str, dict[str, Any]] = {
    "regression": {"text": "good", "label": 1},
    "multi-label": {"text": "good", "label": ["x"]},
    "multiple-choice": {"question": "good", "options": ["u", "v"], "label": "u"},
    "tagging": {"tokens": ["good"], "tags": ["O"]},
    "extractive-qa": {"question": "good", "context": "b", "answers": "b"},
}
LABELS: dict[str, list[str]] = {"multi-label": ["x", "y"], "tagging": ["O", "B-Y"]}


@pytest.mark.parametrize(("kind", "row", "match"), WRONG)
def test_wrong_rows_are_named(kind: str, row: dict[str, Any], match: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [GOOD[kind], row])
    with pytest.raises(DataError, match=match) as caught:
        read(path, kind, labels=LABELS.get(kind))
    assert f"{path}, row 2" in str(caught.value.where)


def test_a_label_column_is_0_or_1(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,rude,spam\na,1,0\nb,2,0\n", encoding="utf-8")
    with pytest.raises(DataError, match="neither 0 nor 1") as caught:
        read(path, "multi-label", label_field="rude,spam")
    assert f"{path}, row 3" in str(caught.value.where)


def test_targets_that_are_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,1\nb,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="all the same"):
        read(path, "regression")


def test_conll_files(tmp_path: Path) -> None:
    path = tmp_path / "train.conll"
    path.write_text(
        "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nBonn NNP B-NP B-LOC\n",
        encoding="utf-8",
    )
    task = read(path, "tagging")
    assert [(r.fields["tokens"], r.target, r.row) for r in task.train] == [
        ("EU rejects", ("B-ORG", "O"), 3),
        ("Bonn", ("B-LOC",), 6),
    ]


@pytest.mark.parametrize("line", ["broken", "EU NNP O", "a b c d e"])
def test_a_broken_conll_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "train.conll"
    path.write_text(f"EU NNP B-NP B-ORG\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="malformed CoNLL line") as caught:
        read(path, "tagging")
    assert caught.value.where == f"{path}, row 2"
