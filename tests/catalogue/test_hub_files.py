"""Files in the hub's layout are looked at and copied."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cuecard.catalogue.hub_files import take_hub_files
from cuecard.catalogue.progress import silent
from cuecard.errors import CatalogueError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "members"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "vocab.txt").write_text("[PAD]\na\n")
    save_file({"weight": torch.ones(2)}, folder / "model.safetensors")
    return sorted(folder.iterdir())


def test_every_byte_is_taken(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    seen: list[int] = []
    take_hub_files(files, out, lambda what, done, total: seen.append(done), "")
    assert seen == [1, 2, 3]
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {
        p.name: p.read_bytes() for p in files
    }


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_broken_files_are_refused(files: list[Path], name: str, tmp_path: Path) -> None:
    (tmp_path / "members" / name).write_bytes(b"{")
    with pytest.raises(CatalogueError, match="cannot be read"):
        take_hub_files(files, tmp_path, silent, "")
