"""The updates in training: PEFT's own loss and gradients, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from cuecard.errors import ConfigError
from cuecard.tasks import collate
from cuecard.training.objective.loss import batch_loss
from cuecard.training.trainables.lora import Lora, LoraSettings, merged
from cuecard.types import Backbone
from support.data.reviews import LONG_SPEC, reviews
from support.oracles.seq2seq import ENDS, OPENINGS
from support.peft_adapters import made_by_peft
from support.tiny import SEQ2SEQ, tiny_backbone

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

KINDS = ["llama", "gpt2", "bloom-alibi", "mistral-sliding", "t5-gated", "bart"]


def rows_of(backbone: Backbone, count: int = 4) -> list[Any]:
    return [LONG_SPEC.encode(record, backbone.tokenizer) for record in reviews(count)]


def with_pefts_numbers(lora: Lora, theirs: Any) -> dict[str, tuple[Any, Any]]:
    """PEFT's A and B by module, also put into ours."""
    found = {
        name.removeprefix("base_model.model."): (
            module.lora_A["default"].weight,
            module.lora_B["default"].weight,
        )
        for name, module in theirs.named_modules()
        if hasattr(module, "lora_A")
    }
    names = list(lora.adapter("x").updates)
    assert set(names) == set(found)
    state = {}
    for number, name in enumerate(names):
        state[f"down.{number}"], state[f"up.{number}"] = (t.detach() for t in found[name])
    lora.load_state_dict(state)
    return {name: found[name] for name in names}


def their_loss(model: Any, kind: str, rows: list[Any]) -> torch.Tensor:
    """The summed loss of the targets, row by row."""
    total = torch.zeros(())
    for row in rows:
        target = torch.tensor(row.target)
        if kind in SEQ2SEQ:
            begin = torch.tensor([[*OPENINGS[kind], *row.target[:-1]]])
            ids = torch.tensor([[*row.context, *ENDS]])
            logits = model(input_ids=ids, decoder_input_ids=begin).logits[0]
        else:
            logits = model(input_ids=torch.tensor([[*row.context, *row.target[:-1]]])).logits[0]
        total = total + cross_entropy(logits[-len(target) :], target, reduction="sum")
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_pefts(kind: str) -> None:
    options = {"target_modules": "all-linear"}
    theirs = made_by_peft(kind, **options)
    backbone = tiny_backbone(kind)
    lora = Lora(backbone, LoraSettings(rank=4, alpha=6), None, seed=0)
    pairs = with_pefts_numbers(lora, theirs)
    rows = rows_of(backbone)
    expected = their_loss(theirs, kind, rows)
    wanted = torch.autograd.grad(expected, [half for pair in pairs.values() for half in pair])
    with lora.attached():
        loss, _ = batch_loss(backbone, LONG_SPEC, rows, lora.injection(), "tokens")
        loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss.detach(), expected.detach(), atol=1e-4, rtol=1e-5)
    # Ours lists every A, then every B.
    for ours, grad in zip(lora.parameters(), [*wanted[::2], *wanted[1::2]], strict=True):
        assert ours.grad is not None
        assert (ours.grad - grad).abs().max() <= 1e-4 * grad.abs().max() + 1e-6
    assert not any(p.requires_grad or p.grad is not None for p in backbone.model.parameters())


@pytest.mark.parametrize("kind", ["llama", "bloom-alibi"])
def test_recomputed_activations_give_the_same_gradients(kind: str) -> None:
    found = []
    for recompute in (False, True):
        backbone = tiny_backbone(kind)
        backbone.recompute = recompute
        lora = Lora(backbone, LoraSettings(rank=2), None, seed=3)
        with lora.attached():
            loss, _ = batch_loss(backbone, LONG_SPEC, rows_of(backbone), lora.injection(), "tokens")
            loss.backward()  # type: ignore[no-untyped-call]
        found.append([p.grad for p in lora.parameters()])
    for kept, again in zip(*found, strict=True):
        assert kept is not None and again is not None and torch.equal(kept, again)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5-gated"])
def test_begins_as_the_backbone_and_leaves_nothing(kind: str) -> None:
    backbone = tiny_backbone(kind)
    batch = collate([(row, ()) for row in rows_of(backbone)], read="next")
    digest, before = backbone.digest(), backbone.fingerprint
    lora = Lora(backbone, LoraSettings(), None, seed=0)
    with torch.no_grad():
        plain = backbone.forward(batch, None)
        with lora.attached():
            assert torch.equal(backbone.forward(batch, lora.injection()), plain)
            for parameter in lora.parameters():
                parameter.add_(0.05)
            beside = backbone.forward(batch, lora.injection())
        assert (beside - plain).abs().max() > 1e-3
        assert torch.equal(backbone.forward(batch, None), plain)
        adapter = lora.adapter("here")
        with merged(backbone, adapter):
            inside = backbone.forward(batch, lora.injection())
            assert backbone.fingerprint.adapter == adapter.digest
        assert (inside - beside).abs().max() <= 1e-5 * beside.abs().max()
        assert torch.equal(backbone.forward(batch, None), plain)
    assert backbone.digest() == digest and backbone.fingerprint == before


def test_a_seed_is_a_start() -> None:
    starts = [
        list(Lora(tiny_backbone(), LoraSettings(), None, seed).parameters()) for seed in (0, 0, 1)
    ]
    assert all(torch.equal(a, b) for a, b in zip(starts[0], starts[1], strict=True))
    assert not torch.equal(starts[0][0], starts[2][0])


def test_targets() -> None:
    backbone = tiny_backbone()
    some = Lora(backbone, LoraSettings(targets=("q_proj", "layers.1.mlp.up_proj")), None, 0)
    assert list(some.adapter("x").updates) == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.up_proj",
    ]
    everything = Lora(backbone, LoraSettings(), None, 0).adapter("x").updates
    assert len(everything) == 14 and "lm_head" not in everything
    with pytest.raises(ConfigError) as caught:
        Lora(backbone, LoraSettings(targets=("q_proj", "c_attn")), None, 0)
    assert caught.value.got == "c_attn" and "q_proj" in str(caught.value.expected)


def test_scales() -> None:
    assert LoraSettings(rank=4, alpha=6).scale == 1.5
    assert LoraSettings(rank=4, alpha=6, rslora=True).scale == 3.0
