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
    package = entry.package
    assert entry.name == name
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)
    assert re.fullmatch(r"[0-9a-f]{64}", package.sha256)
    wheel = f"{package.name.replace('-', '_')}-{package.version}-"
    begins = {"pypi": wheel, "npm": f"{package.name}-{package.version}.tgz"}
    begins["debian"] = f"{package.name}_{package.version}_all.deb"
    assert package.filename.startswith(begins[package.index])
    assert package.size > 0
    assert entry.folder_bytes > 0
    assert entry.converter in CONVERTERS
    assert entry.license
    assert entry.source.startswith("https://")
    assert entry.description.endswith(".")


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_has_subsets_and_labels(name: str) -> None:
    entry = DATASETS[name]
    assert all(re.fullmatch(r"[a-z0-9-]+", subset) for subset in entry.subsets)
    assert all(rows > 0 for rows in entry.subsets.values())
    assert len(set(entry.labels)) == len(entry.labels) >= 2
