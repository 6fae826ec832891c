"""The real sentence encoder of the catalogue."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from cuecard.backbones import FAMILIES, MaskedBackbone
from cuecard.catalogue import backbone_folder
from cuecard.engine.protocol import Embedding, Held
from cuecard.evaluation.embedding import embed
from cuecard.names import load_backbone
from cuecard.types import Encoded, Injection, InputTokens, LayerTokens, PrefixKV, Record
from support.data.pairs import SPEC
from support.serving.requests import noise, serving

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
    kinds = FAMILIES["masked"].takes["text"]
    assert all(minilm.unsupported(kind) is None for kind in kinds)
    assert "no masked-LM head" in (minilm.unreadable("masks") or "")
    assert minilm.max_positions == 511


def test_an_engine_gives_the_same_under_every_prompt(minilm: MaskedBackbone) -> None:
    """Of every kind and length in each pass, and of no prompt."""
    given: list[Injection | None] = [
        None,
        *(InputTokens(minilm.embeddings[100 * n : 101 * n].float()) for n in range(5, 30, 6)),
        InputTokens(minilm.embeddings[900:904].float(), noise(1, 6, 384) * 0.05),
        LayerTokens(noise(2, 6, 4, 384)),
        PrefixKV(noise(3, 6, 2, 12, 5, 32)),
        PrefixKV(noise(4, 6, 2, 12, 9, 32)),
    ]
    texts = [*TEXTS, "x", "the quick brown fox jumps over the lazy dog " * 8]
    alone = [embed(minilm, SPEC, texts, injection) for injection in given]
    for number, one in enumerate(alone):
        for other in alone[:number]:
            assert float((one - other).abs().max(1).values.min()) > 5e-3
    rows: list[Encoded] = [SPEC.encode(Record({"text": t}, None), minilm.tokenizer) for t in texts]
    held = [None if i is None else Held(f"prompt-{n}", i) for n, i in enumerate(given)]

    async def ask() -> list[torch.Tensor]:
        async with serving(minilm) as engine:
            asked = [[Embedding(prompt, row) for prompt in held] for row in rows]
            found = await asyncio.gather(*map(engine.embed, asked))
            assert engine.stats()["passes"] < engine.stats()["rows_embedded"] / 3
            return [torch.stack(column) for column in zip(*found, strict=True)]

    for found, wanted in zip(asyncio.run(ask()), alone, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
