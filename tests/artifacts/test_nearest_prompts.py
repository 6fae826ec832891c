"""Prompts beside each other: the two measures of SPoT, and the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts.nearest import nearest_prompts, similarity
from cuecard.errors import ConfigError
from support.tiny import tiny_backbone

GENERATOR = torch.Generator().manual_seed(4)


def test_the_formulas() -> None:
    a = torch.randn(3, 8, generator=GENERATOR, dtype=torch.float64)
    b = torch.randn(5, 8, generator=GENERATOR, dtype=torch.float64)
    found = similarity(a.float(), b.float())
    mean = torch.dot(a.mean(0), b.mean(0)) / (a.mean(0).norm() * b.mean(0).norm())
    pairs = [float(torch.dot(x, y) / (x.norm() * y.norm())) for x in a for y in b]
    assert found.mean == pytest.approx(float(mean), abs=1e-6)
    assert found.pairs == pytest.approx(sum(pairs) / 15, abs=1e-6)
    assert similarity(a, 3 * a).mean == pytest.approx(1)
    with pytest.raises(ConfigError, match="one width"):
        similarity(a, b[:, :4])


def test_the_search(make_prompt: Any, vectors: torch.Tensor, tmp_path: Path) -> None:
    make_prompt().save(tmp_path / "own")
    near = vectors + 0.05 * torch.randn(vectors.shape, generator=GENERATOR)
    make_prompt(vectors=near).save(tmp_path / "runs" / "near" / "prompt")
    make_prompt(vectors=-vectors).save(tmp_path / "far")
    make_prompt(backbone=tiny_backbone("llama", seed=1)).save(tmp_path / "foreign")
    make_prompt(vectors=near * 2).save(tmp_path / "broken")
    (tmp_path / "broken" / "adapter_model.safetensors").write_bytes(b"")
    found, skipped = nearest_prompts(make_prompt(), [tmp_path, tmp_path / "runs"])
    assert [one.folder for one in found] == [tmp_path / "runs/near/prompt", tmp_path / "far"]
    assert found[0].similarity.mean > 0.9 and found[1].similarity.mean == pytest.approx(-1)
    assert {one.folder.name: one.reason.split(":")[0] for one in skipped} == {
        "broken": "the file is cut short",
        "foreign": "made for another backbone",
    }
    with pytest.raises(ConfigError, match="no such folder"):
        nearest_prompts(make_prompt(), [tmp_path / "nowhere"])
