"""The converter of sae-probes: every row under our labels; anything else is refused."""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuecard.catalogue.datasets.probes import convert_probes
from cuecard.catalogue.entries import DatasetEntry
from cuecard.catalogue.progress import silent
from cuecard.errors import CatalogueError

HEADER = "prompt,prompt_len,target\n"


@pytest.fixture
def news(reviews: Any) -> DatasetEntry:
    entry: DatasetEntry = replace(
        reviews[0],
        subsets={"all": 2},
        labels=("world", "sports"),
        published={"Politics": "world"},
    )
    return entry


def convert(text: str, tmp_path: Path, entry: DatasetEntry) -> Path:
    table = tmp_path / "table.csv.gz"
    table.write_bytes(gzip.compress(text.encode()))
    folder = tmp_path / "folder"
    folder.mkdir()
    convert_probes(table, folder, entry, silent, "Converting")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_labels_are_ours(tmp_path: Path, news: DatasetEntry) -> None:
    text = HEADER + '" a vote, then\ranother ☕",3,Politics\na goal | a cup,2,sports\n'
    folder = convert(text, tmp_path, news)
    assert rows_of(folder / "all.csv") == [
        {"text": "a vote, then\ranother ☕", "label": "world"},
        {"text": "a goal | a cup", "label": "sports"},
    ]


def test_pairs_are_parted(tmp_path: Path, news: DatasetEntry) -> None:
    entry = replace(news, columns=("premise", "hypothesis"))
    folder = convert(HEADER + "a  | b,2,sports\nc|c | d,2,world\n", tmp_path, entry)
    assert rows_of(folder / "all.csv") == [
        {"premise": "a", "hypothesis": "b", "label": "sports"},
        {"premise": "c|c", "hypothesis": "d", "label": "world"},
    ]


@pytest.mark.parametrize(
    ("text", "columns", "got"),
    [
        ("text,target\na,sports\n", ("text",), "['text', 'target']"),
        ("", ("text",), "[]"),
        (HEADER + "a,1,Music\n", ("text",), "'Music', 1 text(s), line 2"),
        (HEADER + "a,1,sports\n", ("text",), "{'all': 1}"),
        (HEADER + "a,1,sports\n", ("one", "two"), "'sports', 1 text(s), line 2"),
        (HEADER + "a | b | c,1,sports\n", ("one", "two"), "'sports', 3 text(s), line 2"),
    ],
)
def test_other_rows_are_refused(
    tmp_path: Path, news: DatasetEntry, text: str, columns: tuple[str, ...], got: str
) -> None:
    with pytest.raises(CatalogueError, match="not those that were published") as caught:
        convert(text, tmp_path, replace(news, columns=columns))
    assert caught.value.got == got
    assert not list((tmp_path / "folder").iterdir())
