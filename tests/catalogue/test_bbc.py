"""The BBC converter: a folder per topic, a headline in front of every article."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuecard.catalogue.datasets.bbc import convert_bbc
from cuecard.catalogue.entries import DatasetEntry
from cuecard.errors import CatalogueError

ARTICLES = {
    "sports/001.txt": b"Cup won late\n\nA goal in the last minute.\n\nThe fans sang.\n",
    "tech/001.txt": b"Phone for \xa3150\n\nIt rings.\n",
    "tech/002.txt": b"Chips\n\nThey are small.",
}


@pytest.fixture
def news(reviews: Any) -> DatasetEntry:
    entry: DatasetEntry = replace(
        reviews[0], subsets={"topics": 3, "headlines": 3}, labels=("sports", "tech")
    )
    return entry


def convert(articles: dict[str, bytes], tmp_path: Path, entry: DatasetEntry) -> Path:
    for name, text in articles.items():
        place = tmp_path / "data" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)
    folder = tmp_path / "folder"
    folder.mkdir()
    seen: list[tuple[str, int, int]] = []
    convert_bbc(tmp_path / "data", folder, entry, lambda *call: seen.append(call), "Converting")
    assert seen == [("Converting", 1, 3), ("Converting", 3, 3)]
    return folder


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_topics_and_headlines(tmp_path: Path, news: DatasetEntry) -> None:
    folder = convert(ARTICLES, tmp_path, news)
    header, first, second, third = rows_of(folder / "headlines.csv")
    assert header == ["text", "label"]
    assert first == ["A goal in the last minute. The fans sang.", "Cup won late"]
    assert second == ["It rings.", "Phone for \ufffd150"]
    assert third == ["They are small.", "Chips"]
    topics = rows_of(folder / "topics.csv")
    assert topics[1] == ["Cup won late. A goal in the last minute. The fans sang.", "sports"]
    assert [row[1] for row in topics[1:]] == ["sports", "tech", "tech"]


@pytest.mark.parametrize(
    "change",
    [
        {"tech/002.txt": b"no empty line\nhere"},
        {"tech/003.txt": b"One more\n\nthan there are."},
        {"music/001.txt": b"Another\n\ntopic."},
    ],
)
def test_other_articles_are_refused(
    tmp_path: Path, news: DatasetEntry, change: dict[str, bytes]
) -> None:
    with pytest.raises(CatalogueError, match="not those that were published"):
        convert(ARTICLES | change, tmp_path, news)
    assert not list((tmp_path / "folder").iterdir())
