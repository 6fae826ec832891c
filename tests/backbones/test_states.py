"""Hidden states at the reads: what the LM head takes in, with gradients to the injection."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cuecard.backbones import causal
from cuecard.errors import BackboneError
from cuecard.tasks import collate
from cuecard.types import Batch, Encoded, InputTokens, Slot
from support.data.reviews import SPEC, reviews
from support.tiny import CONFIGS, SEQ2SEQ, tiny_backbone

# Models whose logits are their LM head's own product, nothing before or behind it.
PLAIN = ("llama", "gpt2", "qwen2", "qwen3", "mistral-sliding", "bloom-alibi", "opt", "bart")


def batch_on(backbone: object, slot: Slot) -> Batch:
    tokenizer = backbone.tokenizer  # type: ignore[attr-defined]
    return collate([(SPEC.encode(r, tokenizer, slot), ()) for r in reviews(5)], read="next")


def vectors(seed: int = 0) -> Tensor:
    return torch.randn(6, 32, generator=torch.Generator().manual_seed(seed)) * 0.3


@pytest.mark.parametrize("slot", ["prefix", "suffix"])
@pytest.mark.parametrize("kind", PLAIN)
def test_the_lm_head_makes_the_logits_of_them(kind: str, slot: Slot) -> None:
    backbone = tiny_backbone(kind)
    batch, given = batch_on(backbone, slot), InputTokens(vectors())
    (reads,) = backbone.read_many([(batch, given)], keep="states")
    states = reads.states()
    assert states.shape == (5, backbone.hidden_size)
    logits = backbone.model.get_output_embeddings()(states)
    bias = getattr(backbone.model, "final_logits_bias", 0.0)
    torch.testing.assert_close(logits + bias, backbone.forward(batch, given), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [*CONFIGS, *SEQ2SEQ])
def test_gradients_reach_the_injection_and_no_logits_are_made(kind: str) -> None:
    backbone = tiny_backbone(kind)
    given = vectors().requires_grad_(True)
    backbone.reset_counts()
    (reads,) = backbone.read_many(
        [(batch_on(backbone, "prefix"), InputTokens(given))], keep="states"
    )
    assert backbone.counts["logits"] == 0
    reads.states().square().sum().backward()
    assert given.grad is not None and bool((given.grad.abs().sum(1) > 0).all())
    assert all(p.grad is None for p in backbone.model.parameters())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2-softcap"])
def test_packed_as_padded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone(kind)
    part = batch_on(backbone, "prefix"), InputTokens(vectors())
    (packed,) = backbone.read_many([part], keep="states")
    monkeypatch.setattr(causal, "_PACKED_LENGTH", 0)
    (padded,) = backbone.read_many([part], keep="states")
    torch.testing.assert_close(packed.states(), padded.states(), atol=1e-4, rtol=1e-4)


def test_states_inside_the_input() -> None:
    """A read behind a context token is that token's state, whatever follows it."""
    backbone = tiny_backbone()
    whole = SPEC.encode(reviews(1)[0], backbone.tokenizer)
    ids = torch.tensor([whole.context])
    places = torch.tensor([3, 7])
    rows = torch.zeros(2, dtype=torch.int64)
    base = collate([(whole, ())], read="next")
    batch = Batch(ids, base.attention_mask, base.slots, rows, places, rows - 100, base.context)
    (found,) = backbone.read_many([(batch, InputTokens(vectors()))], keep="states")
    for state, place in zip(found.states(), places.tolist(), strict=True):
        cut = collate([(Encoded(whole.context[:place], ()), ())], read="next")
        (alone,) = backbone.read_many([(cut, InputTokens(vectors()))], keep="states")
        torch.testing.assert_close(state, alone.states()[0], atol=1e-4, rtol=1e-4)


def test_asking_for_what_is_not_there() -> None:
    backbone = tiny_backbone()
    part = batch_on(backbone, "prefix"), None
    (logits,) = backbone.read_many([part])
    with pytest.raises(BackboneError, match="no hidden states"):
        logits.states()
    (states,) = backbone.read_many([part], keep="states")
    with pytest.raises(BackboneError, match="no logits"):
        states.logits()
