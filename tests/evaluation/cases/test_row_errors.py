"""Which rows are listed, and in which order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import DataError
from cuecard.evaluation.cases.case import Case, read_cases
from cuecard.evaluation.cases.row_errors import find_row_errors
from cuecard.evaluation.evaluate import score_predictions
from cuecard.tasks import TaskSpec
from cuecard.types import Prediction, Record

LABELS = ("bug", "fun")
SPEC = TaskSpec(kind="classification", template="{text}", labels=LABELS)


def cases(spec: TaskSpec, rows: list[tuple[str, str, dict[str, float]]], path: Path) -> list[Case]:
    """Truth, answer and probabilities of rows, by way of the file of answers."""
    records = [Record({"text": f"t{n}"}, gold, "f.csv", n) for n, (gold, *_) in enumerate(rows, 2)]
    answers = [
        Prediction(n, said, shares, shares if spec.labels else {})
        for n, (_, said, shares) in enumerate(rows)
    ]
    found = score_predictions(spec, records, answers, seconds=1.0, tokens_per_request=1)
    return read_cases(found.save_predictions(path))


def two(bug: float) -> tuple[str, dict[str, float]]:
    return "bug" if bug > 0.5 else "fun", {"bug": bug, "fun": 1 - bug}


def test_the_three_lists(tmp_path: Path) -> None:
    rows = [
        ("bug", *two(0.95)),
        ("bug", *two(0.8)),
        ("bug", *two(0.48)),  # wrong and unsure
        ("fun", *two(0.99)),  # wrong, surely
        ("fun", *two(0.1)),
        ("fun", *two(0.58)),  # wrong and unsure
        ("fun", *two(0.2)),
    ]
    found = find_row_errors(SPEC, [cases(SPEC, rows, tmp_path / "a.jsonl")])
    assert found.rows == 7 and not found.by_degree
    assert [(f.case.row, f.certainty) for f in found.wrong] == [
        (5, pytest.approx(0.99)),
        (7, pytest.approx(0.58)),
        (4, pytest.approx(0.52)),
    ]
    assert found.unsure is not None and [f.case.row for f in found.unsure] == [4, 7]
    assert found.mislabelled is not None and found.noise is not None and 0 < found.noise < 0.5
    (suspect,) = found.mislabelled
    assert suspect.case.row == 5 and suspect.issue is not None and suspect.issue.suggested == "bug"
    assert [f.case.row for f in found.shown()] == [5, 7, 4]
    assert [f.case.row for f in found.shown(1)] == [5, 4]
    told = json.loads(json.dumps(found.to_dict(limit=1)))
    assert told["wrong"] == told["mislabelled"] and told["wrong"][0]["suggested"] == "bug"
    assert told["wrong"][0]["fields"] == {"text": "t5"} and told["rows"] == 7


def test_files_are_not_compared_with_each_other(tmp_path: Path) -> None:
    # Of training rows all labels are sure, and 0.9 is little; of test rows it is much.
    train = cases(SPEC, [("bug", *two(0.999)), ("fun", *two(0.001))] * 3, tmp_path / "train.jsonl")
    test = cases(
        SPEC, [("bug", *two(0.7)), ("fun", *two(0.3)), ("fun", *two(0.9))], tmp_path / "test.jsonl"
    )
    both = find_row_errors(SPEC, [train, test])
    assert both.rows == 9 and both.mislabelled is not None
    assert [f.case.row for f in both.mislabelled] == [4]


def test_a_weak_prompt_is_no_judge_of_labels(tmp_path: Path) -> None:
    right = [("bug", *two(0.9)), ("fun", *two(0.1))]
    wrong = [("bug", *two(0.05)), ("fun", *two(0.95))]
    for rows, told in ((wrong + right * 2, False), (wrong * 2 + right, True)):
        found = find_row_errors(SPEC, [cases(SPEC, rows, tmp_path / "a.jsonl")])
        assert found.mislabelled and (found.note is not None) is told
    assert found.note is not None and found.note.startswith("67% of the answers are wrong")
    assert found.to_dict()["note"] == found.note


def test_several_labels_have_neither_margins_nor_one_label(tmp_path: Path) -> None:
    spec = TaskSpec(kind="multi-label", template="{text}", labels=LABELS)
    rows: Any = [
        ("bug", "bug,fun", {"bug": 0.9, "fun": 0.7}),
        ("bug,fun", "fun", {"bug": 0.1, "fun": 0.8}),
        ("fun", "fun", {"bug": 0.1, "fun": 0.8}),
    ]
    found = find_row_errors(spec, [cases(spec, rows, tmp_path / "a.jsonl")])
    # One has a label too many, the other lacks one that seemed most unlikely.
    assert [(f.case.row, f.certainty) for f in found.wrong] == [(3, 0.9), (2, 0.7)]
    assert found.unsure is None and found.mislabelled is None and found.noise is None


def test_numbers_are_listed_by_how_far_they_are_off(tmp_path: Path) -> None:
    spec = TaskSpec(kind="regression", template="{text}")
    rows: Any = [
        ("1.0", "1.5", {"value": 1.5}),
        ("2.0", "-3.0", {"value": -3.0}),
        ("3.0", "3", {"value": 3.0}),
    ]
    found = find_row_errors(spec, [cases(spec, rows, tmp_path / "a.jsonl")])
    assert found.by_degree and [f.case.row for f in found.wrong] == [3, 2, 4]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"row": 1}\n')
    with pytest.raises(DataError, match="file of answers cannot be read") as told:
        read_cases(tmp_path / "a.jsonl")
    assert told.value.where == str(tmp_path / "a.jsonl")
