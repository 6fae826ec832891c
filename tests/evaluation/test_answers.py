"""Answers as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuecard.evaluation.answers import answer_rows, save_answers, save_masks
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


def test_no_mask_takes_the_place_of_another(tmp_path: Path) -> None:
    """Two files of one name in other folders, and one that is called as the second's mask."""
    sources = ("a/0.png", "a/0-3.png", "b/0.png", "")
    records = [Record({}, None, source) for source in sources]
    runs = [Prediction(n, f'{{"size":[1,4],"counts":[{n},1,{3 - n}]}}', {}, {}) for n in range(4)]
    folder = save_masks(records, runs, tmp_path / "masks")
    assert len({path.read_bytes() for path in folder.iterdir()}) == 4
    assert {path.name for path in folder.iterdir()} >= {"0.png", "0-3.png", "row-4.png"}
