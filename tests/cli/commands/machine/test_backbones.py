"""`cuecard backbones`: the catalogue, and what of it is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.catalogue import BACKBONES
from cuecard.catalogue.manifest import write_manifest
from support.command_line import Call

ENTRY = BACKBONES["smollm2-135m-instruct"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path))
    return tmp_path


def test_table(cuecard: Call) -> None:
    done = cuecard("backbones")
    assert done.code == 0
    for word in (ENTRY.name, "135M parameters", "93 MB to fetch", "Apache-2.0", "on first use"):
        assert word in done.out


def test_what_is_here(cuecard: Call, cache: Path) -> None:
    assert not cuecard("backbones", "--json").json["backbones"][0]["cached"]
    folder = cache / "backbones" / ENTRY.name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    write_manifest(folder, ENTRY)
    found = cuecard("backbones", "--json").json["backbones"]
    assert [entry["name"] for entry in found] == list(BACKBONES)
    assert found[0]["cached"] and found[0]["folder"] == str(folder)
    assert found[0]["download_bytes"] == ENTRY.package.size
