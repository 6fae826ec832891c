"""Damage to a converted folder is noticed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cuecard.catalogue.manifest import find_damage, sha256_of, write_manifest


@pytest.fixture
def folder(tmp_path: Path, reviews: Any) -> Path:
    target = tmp_path / "folder"
    (target / "inner").mkdir(parents=True)
    (target / "a.csv").write_text("some rows")
    (target / "inner" / "b.csv").write_text("more rows")
    write_manifest(target, reviews[0])
    return target


def test_whole_folder(folder: Path, reviews: Any) -> None:
    assert find_damage(folder, reviews[0]) is None
    assert find_damage(folder, reviews[0], deep=True) is None
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files["inner/b.csv"]["sha256"] == sha256_of(folder / "inner" / "b.csv")


def test_missing_short_and_changed_files(folder: Path, reviews: Any) -> None:
    entry = reviews[0]
    (folder / "a.csv").write_text("same long")
    assert find_damage(folder, entry) is None
    assert find_damage(folder, entry, deep=True) == "a.csv has changed"
    (folder / "a.csv").write_text("some")
    assert find_damage(folder, entry) == "a.csv has 4 bytes, not 9"
    (folder / "a.csv").unlink()
    assert find_damage(folder, entry) == "a.csv is missing"


def test_no_folder(tmp_path: Path, reviews: Any) -> None:
    assert find_damage(tmp_path / "nowhere", reviews[0]) == "not there"


@pytest.mark.parametrize("change", [{"converter": "movie-reviews/2"}, {"name": "other"}])
def test_another_origin(folder: Path, reviews: Any, change: dict[str, str]) -> None:
    other = dataclasses.replace(reviews[0], **change)
    assert find_damage(folder, other) == "made from another package or by another converter"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"files": 3}', "\x00"])
def test_manifest_that_is_none(folder: Path, reviews: Any, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    assert "cannot be read" in (find_damage(folder, reviews[0]) or "")


def test_manifest_without_files(folder: Path, reviews: Any) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**document, "files": {}}))
    assert find_damage(folder, reviews[0]) == "manifest.json lists no files"
