"""The real sentence encoder of the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from cuecard.backbones import MaskedBackbone
from cuecard.catalogue import backbone_folder
from cuecard.evaluation.embedding import embed
from cuecard.names import load_backbone
from pairs import SPEC

pytestmark = [pytest.mark.slow, pytest.mark.integration]

TEXTS = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]


@pytest.fixture(scope="module")
def minilm(catalogue_cache: Path) -> MaskedBackbone:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUECARD_CACHE", str(catalogue_cache))
        found = load_backbone("all-minilm-l6-v2", dtype="fp32", device="cpu")
    assert isinstance(found, MaskedBackbone) and not found.has_head
    return found


def test_vectors_are_those_of_transformers(
    minilm: MaskedBackbone, catalogue_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(catalogue_cache))
    folder = backbone_folder("all-minilm-l6-v2")
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    given = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model.eval()(**given).last_hidden_state
    mask = given["attention_mask"][..., None]
    plain = normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    found = embed(minilm, SPEC, TEXTS)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-4)
    assert float(found[0] @ found[1]) > 0.9 > 0.5 > float(found[0] @ found[2])


def test_what_it_takes(minilm: MaskedBackbone) -> None:
    needs = ("input-tokens", "token-shifts", "prefix-kv", "layer-tokens", "states")
    assert all(minilm.lacks(need) is None for need in needs)
    assert "no masked-LM head" in (minilm.lacks("masks") or "")
    assert minilm.max_positions == 511
