"""The reviews converter: every row once, with its label as a word; anything else is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from cuecard.catalogue.datasets.reviews import convert_reviews
from cuecard.catalogue.progress import silent
from cuecard.errors import CatalogueError

HEADER = "text,label,source\n"
ROWS = 'good,1,first_part\n"bad, or\nworse ☕",0,first_part\nfine,1,second\n'


def convert(text: str, tmp_path: Path, entry: Any, progress: Any = silent) -> Path:
    table = tmp_path / "table.csv"
    table.write_text(text, encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()
    convert_reviews(table, folder, entry, progress, "Converting")
    return folder


def test_rows_go_to_their_subsets(tmp_path: Path, reviews: Any) -> None:
    calls: list[tuple[str, int, int]] = []
    folder = convert(HEADER + ROWS, tmp_path, reviews[0], lambda *call: calls.append(call))
    with (folder / "first-part.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"text": "good", "label": "positive"},
        {"text": "bad, or\nworse ☕", "label": "negative"},
    ]
    assert (folder / "second.csv").read_text() == "text,label\nfine,positive\n"
    assert calls == [("Converting", 3, 3)]


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("text,label\ngood,1\n", "['text', 'label']"),
        ("", "[]"),
        (HEADER + "good,2,second\n", "['2', 'second']"),
        (HEADER + "good,1,third\n", "['1', 'third']"),
        (HEADER + "good,1\n", "['1']"),
        (HEADER + ROWS + "more,1,second\n", "{'first-part': 2, 'second': 2}"),
        (HEADER, "{'first-part': 0, 'second': 0}"),
    ],
)
def test_other_rows_are_refused(tmp_path: Path, reviews: Any, text: str, got: str) -> None:
    with pytest.raises(CatalogueError, match="not those that were published") as caught:
        convert(text, tmp_path, reviews[0])
    assert caught.value.got == got
    assert not list((tmp_path / "folder").iterdir())
