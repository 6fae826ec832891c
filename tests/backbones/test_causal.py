from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from cuecard.backbones import CausalBackbone
from cuecard.backbones.kernels.packing import Packing
from cuecard.errors import BackboneError
from cuecard.tasks import collate
from cuecard.types import Batch, Encoded, InputTokens, Placement
from support.tiny import CONFIGS, tiny_backbone, tiny_model, tiny_tokenizer


def batch_of(contexts: list[list[int]]) -> Batch:
    return collate([(Encoded(tuple(c), ()), ()) for c in contexts], read="next")


ROWS = [[10 + i, 11, *range(20, 20 + i)] for i in range(1, 9)]


def test_the_prompt_runs_once_nothing_is_padded_and_logits_are_computed_where_they_are_read() -> (
    None
):
    backbone = tiny_backbone()
    backbone.forward(batch_of(ROWS), InputTokens(torch.randn(50, 32)))
    tokens = 50 + sum(map(len, ROWS))
    assert backbone.counts == {"calls": 1, "tokens": tokens, "logits": len(ROWS), "remembered": 0}


def test_two_rows_share_a_prompt_of_one_vector() -> None:
    backbone = tiny_backbone()
    backbone.forward(batch_of([[5, 6, 7], [6, 7]]), InputTokens(torch.randn(1, 32)))
    assert backbone.counts["tokens"] == 1 + 3 + 2


def test_a_common_beginning_runs_once_without_a_prompt_too() -> None:
    backbone = tiny_backbone()
    header = list(range(30, 70))
    backbone.forward(batch_of([header + row for row in ROWS]), None)
    assert backbone.counts["tokens"] == len(header) + sum(map(len, ROWS))


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_architecture_packs_unless_it_has_attention_of_its_own(kind: str) -> None:
    backbone = tiny_backbone(kind)
    backbone.forward(batch_of(ROWS), InputTokens(torch.randn(50, 32)))
    assert backbone.counts["calls"] == (2 if kind == "bloom-alibi" else 1)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("slot", ["prefix", "suffix"])
def test_padded_rows_give_what_packed_rows_give(
    kind: str, slot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny_backbone(kind)
    at = [0 if slot == "prefix" else len(row) for row in ROWS]
    rows = [(Encoded(tuple(c), (), Placement.at(s)), (7, 8)) for c, s in zip(ROWS, at, strict=True)]
    found = []
    for longest in (512, 0):
        monkeypatch.setattr("cuecard.backbones.causal._PACKED_LENGTH", longest)
        prompt = torch.randn(30, 32, generator=torch.Generator().manual_seed(0))
        logits = backbone.forward(collate(rows), InputTokens(prompt.requires_grad_(True)))
        logits.log_softmax(-1)[:, 5].sum().backward()
        found.append((logits.detach(), prompt.grad))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def test_the_model_is_its_owners_again_after_a_packed_call() -> None:
    backbone = tiny_backbone()
    ids = torch.tensor([[5, 6, 7, 8]])
    before = backbone.model(ids).logits
    backbone.forward(batch_of(ROWS), InputTokens(torch.randn(50, 32)))
    assert torch.equal(backbone.model(ids).logits, before)


def test_a_model_that_answers_otherwise_when_packed_is_run_padded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompt = InputTokens(torch.randn(50, 32))
    expected = tiny_backbone().forward(batch_of(ROWS), prompt)
    monkeypatch.setattr("cuecard.backbones.kernels.packing.Packing.positions", _all_the_same)
    backbone = tiny_backbone()
    found = backbone.forward(batch_of(ROWS), prompt)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert backbone.counts["calls"] == 2


def _all_the_same(packing: Packing) -> torch.Tensor:
    return torch.zeros(1, packing.shared + int(packing.lengths.sum()), dtype=torch.long)


def test_sliding_windows_shorter_than_the_prompt_are_not_broadcast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cuecard.backbones.causal._PACKED_LENGTH", 0)
    backbone = tiny_backbone("mistral-sliding")
    prompt = InputTokens(torch.randn(30, 32))
    backbone.forward(batch_of(ROWS), prompt)
    backbone.reset_counts()
    backbone.forward(batch_of(ROWS), prompt)
    assert backbone.counts["calls"] == 1


def test_nothing_trains() -> None:
    backbone = tiny_backbone()
    assert not backbone.model.training
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_digest_sees_one_changed_value() -> None:
    backbone = tiny_backbone()
    before = backbone.digest()
    assert tiny_backbone().digest() == before
    with torch.no_grad():
        next(backbone.model.parameters()).view(-1)[17] += 1e-3
    assert backbone.digest() != before


def test_embeddings_hold_the_layers_own_scaling() -> None:
    backbone = tiny_backbone("gemma2-softcap")
    layer = backbone.model.get_input_embeddings()
    ids = torch.tensor([3, 77])
    assert torch.equal(backbone.embeddings[ids], layer(ids))
    assert backbone.embeddings.shape == (384, 32)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("slot", ["prefix", "suffix"])
def test_generation_is_the_models_own(kind: str, slot: str) -> None:
    backbone = tiny_backbone(kind)
    vectors = torch.randn(12, 32, generator=torch.Generator().manual_seed(0))
    slots = [0 if slot == "prefix" else len(row) for row in ROWS]
    ours = backbone.generate(ROWS, [*map(Placement.at, slots)], InputTokens(vectors), 6)
    embed = backbone.model.get_input_embeddings()
    for row, at, answer in zip(ROWS, slots, ours, strict=True):
        tokens = embed(torch.tensor([row]))
        embeds = torch.cat([tokens[:, :at], vectors[None], tokens[:, at:]], 1)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        plain = backbone.model.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=6, do_sample=False
        )[0].tolist()
        ends = [i for i, token in enumerate(plain) if token == 2]
        assert answer == (plain[: ends[0]] if ends else plain)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5-relu"])
def test_a_cache_is_given_by_the_models_own_name_for_it(kind: str) -> None:
    """transformers 5.24 renames it; this is a model whose forward has the other name."""
    rows = [row[:5] for row in ROWS]
    expected = tiny_backbone(kind).generate(rows, [Placement()] * len(rows), None, 6)
    model = tiny_model(kind)
    own, signature = model.forward, inspect.signature(model.forward)
    old, new = sorted(
        {"cache", "past_key_values"}, key=lambda name: name not in signature.parameters
    )

    def forward(**given: Any) -> Any:
        assert old not in given
        found = own(**{old if name == new else name: value for name, value in given.items()})
        found[new] = found.get(old)
        return found

    forward.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            each.replace(name=new) if each.name == old else each
            for each in signature.parameters.values()
        ]
    )
    model.forward = forward
    backbone = type(tiny_backbone(kind))(model, tiny_backbone(kind).tokenizer, kind)
    assert backbone.generate(rows, [Placement()] * len(rows), None, 6) == expected


def test_generation_stops_at_a_stop_id() -> None:
    backbone = tiny_backbone()
    free = backbone.generate(ROWS[:2], [Placement()] * 2, None, 6)
    stopped = backbone.generate(ROWS[:2], [Placement()] * 2, None, 6, stop_ids=[free[0][2]])
    assert stopped[0] == free[0][: free[0].index(free[0][2])]


def test_a_prompt_of_another_width_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"shape \(any, 32\)"):
        tiny_backbone().forward(batch_of(ROWS), InputTokens(torch.zeros(4, 31)))


def test_too_long_is_refused() -> None:
    backbone = tiny_backbone()
    with pytest.raises(BackboneError, match="at most 256"):
        backbone.forward(batch_of(ROWS), InputTokens(torch.zeros(250, 32)))
    with pytest.raises(BackboneError, match="at most 256"):
        backbone.generate(ROWS, [Placement()] * len(ROWS), None, 300)


def test_an_encoder_is_no_causal_backbone() -> None:
    sizes: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertModel(BertConfig(vocab_size=384, hidden_size=16, intermediate_size=16, **sizes))
    with pytest.raises(BackboneError, match="without an input embedding or an LM head"):
        CausalBackbone(model, tiny_tokenizer(), "bert")


def test_bfloat16_takes_float32_prompts_and_gives_them_gradients() -> None:
    model = tiny_model().to(torch.bfloat16)
    backbone = CausalBackbone(model, tiny_tokenizer(), "tiny")
    vectors = torch.randn(20, 32, requires_grad=True)
    logits = backbone.forward(batch_of(ROWS), InputTokens(vectors))
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert vectors.grad is not None and vectors.grad.dtype == torch.float32
    exact = tiny_backbone().forward(batch_of(ROWS), InputTokens(vectors))
    assert torch.nn.functional.cosine_similarity(logits, exact).min() > 0.99
