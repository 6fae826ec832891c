"""Arrays as google-research/prompt-tuning publishes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cuecard.artifacts import Prompt, import_npy
from cuecard.artifacts.export import export
from cuecard.errors import ArtifactError, WrongBackboneError
from cuecard.types import Placement
from support.data.reviews import SPEC, reviews
from support.tiny import tiny_backbone


def array(rows: int = 100, width: int = 32) -> Any:
    return np.random.default_rng(0).normal(0, 0.3, (rows, width)).astype(np.float32)


def test_an_array_is_a_prompt_in_front_of_the_encoders_input(tmp_path: Path) -> None:
    np.save(tmp_path / "sst2.npy", array())
    backbone = tiny_backbone("t5-gated")
    prompt = import_npy(tmp_path / "sst2.npy", backbone, SPEC)
    prompt.save(tmp_path / "prompt")
    loaded = Prompt.load(tmp_path / "prompt", backbone)
    assert torch.equal(loaded.vectors, torch.from_numpy(array()))
    row = SPEC.encode(reviews(1)[0], backbone.tokenizer)
    found = backbone.generate([row.context], [Placement()], loaded.injection(), 4)
    embeds = backbone.model.shared(torch.tensor([[*row.context, 2]]))
    whole = torch.cat([loaded.vectors[None], embeds], 1)
    theirs = backbone.model.generate(
        inputs_embeds=whole,
        attention_mask=torch.ones(whole.shape[:2]),
        max_new_tokens=4,
        use_cache=False,
    )[0, 1:].tolist()
    assert found[0] == theirs


def test_what_is_exported_is_imported(tmp_path: Path) -> None:
    backbone = tiny_backbone("llama")
    np.save(tmp_path / "a.npy", array(3))
    prompt = import_npy(tmp_path / "a.npy", backbone, SPEC)
    export(prompt, tmp_path / "b.npy", "npy")
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_another_width(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array(100, 768))
    with pytest.raises(WrongBackboneError, match="768 wide"):
        import_npy(tmp_path / "x.npy", tiny_backbone("t5-relu"), SPEC)


BAD = {
    "flat": np.zeros(32, np.float32),
    "integers": np.zeros((2, 32), np.int64),
    "empty": np.zeros((0, 32), np.float32),
    "too many": np.zeros((5000, 32), np.float32),
    "nan": np.full((2, 32), np.nan),
    "objects": np.array([[object()]]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_prompt(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", BAD[name], allow_pickle=True)
    with pytest.raises(ArtifactError):
        import_npy(tmp_path / "x.npy", tiny_backbone("t5-relu"), SPEC)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"hello", b"PK\x03\x04"])
def test_what_is_no_array(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot read the array"):
        import_npy(tmp_path / "x.npy", tiny_backbone("t5-relu"), SPEC)


def test_an_archive_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", array())
    with pytest.raises(ArtifactError, match="cannot read the array"):
        import_npy(tmp_path / "x.npz", tiny_backbone("t5-relu"), SPEC)
