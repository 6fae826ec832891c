"""The file of a learnt start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cuecard.artifacts.meta_init import MetaInit
from cuecard.artifacts.safetensors_file import TENSOR_NAME, tensor_file
from cuecard.errors import ArtifactError, WrongBackboneError
from support.tiny import shared_backbone


def start() -> MetaInit:
    vectors = torch.arange(12.0).reshape(3, 4)
    settings = {"algorithm": "reptile", "inner_lr": 0.1}
    return MetaInit.create(vectors, shared_backbone(), ["a", "b"], settings, 7)


def test_a_file_says_what_it_was_learnt_on(tmp_path: Path) -> None:
    made = start()
    found = MetaInit.load(made.save(tmp_path / "init.safetensors"))
    assert torch.equal(found.vectors, made.vectors) and found.manifest == made.manifest
    assert found.manifest.tasks == ("a", "b") and found.manifest.rounds == 7
    found.check(shared_backbone(), "init")
    with pytest.raises(WrongBackboneError):
        found.check(shared_backbone("llama", 1), "init")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = start().save(tmp_path / "init.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="not the ones that were saved"):
        MetaInit.load(path)
    path.write_bytes(content.replace(b"reptile", b"fomamlx"))
    with pytest.raises(ArtifactError, match="does not match its digest"):
        MetaInit.load(path)
    path.write_bytes(tensor_file({TENSOR_NAME: start().vectors.numpy()}, {"format": "pt"}))
    with pytest.raises(ArtifactError, match="does not say what it was learnt on"):
        MetaInit.load(path)
    with pytest.raises(ArtifactError, match="there is no meta-learned start"):
        MetaInit.load(tmp_path / "none")
