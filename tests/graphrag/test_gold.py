"""Gold sets of both shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConfigError, DataError, FileError
from cuecard.graphrag.gold import read_gold
from cuecard.graphrag.records import Entity, Extraction, Relation

OURS = {
    "text": "Ann sues Acme in Rome.",
    "document": "case-1",
    "entities": [
        {"name": "Ann", "type": "Person"},
        {"name": "Acme", "type": "Org", "description": "A firm"},
    ],
    "relations": [{"source": "Ann", "target": "Acme", "type": "Sues", "description": "in Rome"}],
}
PUBLIC = {
    "id": "17",
    "text": "Ann sues Acme.",
    "entities": [
        {"id": 4, "text": "Ann", "start": 0, "end": 3, "type": "Person"},
        {"id": 7, "text": "Acme", "start": 9, "end": 13, "type": "Org"},
    ],
    "relations": [{"head": 4, "tail": 7, "type": "Sues"}],
}


def saved(folder: Path, *rows: Any) -> Path:
    path = folder / "gold.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n\n" for row in rows))
    return path


def test_both_shapes(tmp_path: Path) -> None:
    gold = read_gold(saved(tmp_path, OURS, PUBLIC))
    ours, public = gold.texts
    assert ours.extraction == Extraction(
        (Entity("Ann", "Person"), Entity("Acme", "Org", "A firm")),
        (Relation("Ann", "Acme", "in Rome", 1.0, "Sues"),),
    )
    assert public.extraction == Extraction(
        (Entity("Ann", "Person"), Entity("Acme", "Org")),
        (Relation("Ann", "Acme", "", 1.0, "Sues"),),
    )
    assert (ours.document, ours.row, public.document, public.row) == ("case-1", 1, "3", 3)
    assert gold.types == ("Person", "Org") and gold.labelled


def test_a_line_separator_in_a_text_ends_no_line(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    row = OURS | {"text": "Ann left Acme.\u2028She sued."}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8")
    (only,) = read_gold(path).texts
    assert only.text == row["text"]


def test_some_are_drawn_by_seed(tmp_path: Path) -> None:
    gold = read_gold(saved(tmp_path, *[OURS] * 20))
    rows = [[text.row for text in gold.drawn(5, seed).texts] for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2] and rows[0] == sorted(set(rows[0])) and len(rows[0]) == 5
    assert gold.drawn(20, 0) is gold and gold.drawn(None, 0) is gold


def test_types_are_renamed(tmp_path: Path) -> None:
    gold = read_gold(saved(tmp_path, OURS)).renamed({"org": "Company"})
    assert gold.types == ("Person", "Company")
    assert gold.texts[0].extraction.relations[0].type == "Sues"
    gold.check_types(["company", "PERSON"], "--type-name")
    with pytest.raises(ConfigError, match="no entity has this type"):
        gold.check_types(["Event"], "--type-name")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"entities": []}, "without a text"),
        ([], "without a text"),
        ({"text": "x", "entities": {"a": 1}}, "entities is not a list"),
        ({"text": "x", "entities": [{"name": "A"}]}, "no text in type"),
        ({"text": "x", "entities": [{"text": "", "type": "T"}]}, "no text in text"),
        ({**OURS, "relations": [{"source": "Ann", "target": "Bob", "type": "T"}]}, "not there"),
        ({**PUBLIC, "relations": [{"head": 4, "tail": 5, "type": "T"}]}, "not there"),
        ({**PUBLIC, "relations": [{"head": 4, "tail": 7}]}, "no text in type"),
        ({"text": "x"}, "no entity in the gold set"),
    ],
)
def test_what_is_no_gold(tmp_path: Path, row: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_gold(saved(tmp_path, row))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        read_gold(tmp_path / "missing.jsonl")
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_gold(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text("{")
    with pytest.raises(DataError, match="line 1"):
        read_gold(tmp_path / "x.jsonl")
