"""The catalogue's own statements hold together."""

from __future__ import annotations

import re

import pytest

from cuecard.catalogue import BACKBONES, DATASETS
from cuecard.catalogue.convert import CONVERTERS

ENTRIES = {**BACKBONES, **DATASETS}


def test_backbones_and_datasets_share_no_name() -> None:
    assert len(ENTRIES) == len(BACKBONES) + len(DATASETS)


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_is_complete(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.name == name
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)
    for package in entry.packages:
        assert re.fullmatch(r"[0-9a-f]{64}", package.sha256)
        wheel = f"{package.name.replace('-', '_')}-{package.version}-"
        begins = {"pypi": wheel, "npm": f"{package.name}-{package.version}.tgz"}
        begins["debian"] = f"{package.name}_{package.version}_all.deb"
        assert package.filename.startswith(begins[package.index])
        assert package.size > 0
    assert len({package.sha256 for package in entry.packages}) == len(entry.packages)
    assert entry.folder_bytes > 0
    assert entry.converter in CONVERTERS
    assert entry.license
    assert entry.source.startswith("https://")
    assert entry.description.endswith(".")


@pytest.mark.parametrize(("name", "count"), [("0.5b", 6), ("1.5b", 22)])
def test_files_in_pieces_name_every_piece_once(name: str, count: int) -> None:
    entry = BACKBONES[f"qwen2.5-coder-{name}-instruct"]
    members = [package.members for package in entry.packages]
    assert [re.findall(r"part(\d+)/data/part(\d\d)\.bin", member) for (member,) in members] == [
        [(str(number), f"{number:02d}")] for number in range(1, count + 1)
    ]
    assert entry.joined is not None and re.fullmatch(r"[0-9a-f]{64}", entry.joined.sha256)


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_has_subsets_and_labels(name: str) -> None:
    entry = DATASETS[name]
    assert all(re.fullmatch(r"[a-z0-9-]+", subset) for subset in entry.subsets)
    assert all(rows > 0 for rows in entry.subsets.values())
    assert len(set(entry.labels)) == len(entry.labels) >= 2
