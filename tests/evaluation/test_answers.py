"""Answers as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuecard.evaluation.answers import answer_rows, save_answers
from cuecard.types import Prediction, Record

RECORDS = [Record({"text": "é"}, None, "a.csv", 7), Record({"text": "b"}, None)]
ANSWERS = [
    Prediction(0, "yes", {"yes": -1.0, "no": -2.0}, {"yes": 0.7, "no": 0.3}),
    Prediction(1, "a text", {}, {}),
]


def test_rows_are_written_as_they_are(tmp_path: Path) -> None:
    path = save_answers(RECORDS, ANSWERS, tmp_path / "new" / "answers.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == answer_rows(RECORDS, ANSWERS)
    assert json.loads(lines[0]) == {
        "row": 7,
        "source": "a.csv",
        "fields": {"text": "é"},
        "answer": "yes",
        "scores": {"yes": -1.0, "no": -2.0},
        "probabilities": {"yes": 0.7, "no": 0.3},
    }
    assert json.loads(lines[1])["row"] == 2  # its place, where it came from no file
    assert "é" in lines[0]


def test_other_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        answer_rows(RECORDS, ANSWERS[:1])
