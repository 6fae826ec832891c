"""A wheel -> a folder, or one clear error."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cuecard.catalogue.convert import convert
from cuecard.catalogue.manifest import find_damage
from cuecard.catalogue.progress import silent
from cuecard.errors import CatalogueError


@pytest.fixture
def wheel(tmp_path: Path, reviews: Any) -> Path:
    path = tmp_path / reviews[0].package.filename
    path.write_bytes(reviews[1])
    return path


@pytest.fixture
def room(tmp_path: Path) -> Path:
    path = tmp_path / "room"
    path.mkdir()
    return path


def test_folder_has_the_files_and_nothing_else(wheel: Path, room: Path, reviews: Any) -> None:
    folder = convert(reviews[0], [wheel], room, silent)
    assert folder.parent == room
    assert sorted(path.name for path in folder.iterdir()) == [
        "first-part.csv",
        "manifest.json",
        "second.csv",
    ]
    assert [path.name for path in room.iterdir()] == [folder.name]
    assert find_damage(folder, reviews[0], deep=True) is None
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["package"] == "tiny-reviews==1.0"
    assert manifest["license"] == "MIT"


def test_member_that_is_not_there(wheel: Path, room: Path, reviews: Any) -> None:
    package = dataclasses.replace(reviews[0].package, members=("pkg/other.csv",))
    with pytest.raises(CatalogueError, match="cannot be converted") as caught:
        convert(dataclasses.replace(reviews[0], package=package), [wheel], room, silent)
    assert "pkg/other.csv" in (caught.value.got or "")


def test_file_that_is_no_wheel(wheel: Path, room: Path, reviews: Any) -> None:
    wheel.write_bytes(b"not a zip archive")
    with pytest.raises(CatalogueError, match="BadZipFile") as caught:
        convert(reviews[0], [wheel], room, silent)
    assert str(wheel) in (caught.value.hint or "")


def bbc_wheel(path: Path, names: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in names.items():
            archive.writestr(name, text)
    return path


def test_a_folder_of_the_wheel(tmp_path: Path, room: Path, reviews: Any) -> None:
    names = {"pkg/data/a/1.txt": "One\n\none.", "pkg/data/b/1.txt": "Two\n\ntwo.", "pkg/x": "no"}
    package = dataclasses.replace(reviews[0].package, members=("pkg/data/",))
    entry = dataclasses.replace(
        reviews[0],
        package=package,
        converter="bbc-news/1",
        labels=("a", "b"),
        subsets={"topics": 2, "headlines": 2},
    )
    folder = convert(entry, [bbc_wheel(tmp_path / "w.whl", names)], room, silent)
    assert (folder / "headlines.csv").read_text() == "text,label\none.,One\ntwo.,Two\n"
    assert not (room / "members").exists()


def test_a_name_that_leads_out_of_its_folder(tmp_path: Path, room: Path, reviews: Any) -> None:
    package = dataclasses.replace(reviews[0].package, members=("pkg/data/",))
    wheel = bbc_wheel(tmp_path / "w.whl", {"pkg/data/../../../out.txt": "a"})
    with pytest.raises(CatalogueError, match="leads out of its folder"):
        convert(dataclasses.replace(reviews[0], package=package), [wheel], room, silent)
    assert not list(tmp_path.rglob("out.txt"))
