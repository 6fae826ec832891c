"""Activation checkpointing gives the same bits, runs layers again, and keeps less."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cuecard.backbones import CausalBackbone
from cuecard.backbones.kernels.checkpointing import decoder_layers
from cuecard.errors import BackboneError
from cuecard.tasks import collate
from cuecard.types import Batch, Encoded, InputTokens, Placement
from support.tiny import CONFIGS, tiny_backbone

ROWS = [[10 + i, 11, *range(20, 40 + i)] for i in range(1, 7)]
SLOTS = ("prefix", "suffix", "middle")


def batch_of(slot: str) -> Batch:
    places = {"prefix": lambda _: 0, "suffix": len, "middle": lambda row: len(row) // 2}
    rows = [(Encoded(tuple(row), (), Placement.at(places[slot](row))), (7, 8)) for row in ROWS]
    return collate(rows)


def prompt() -> Tensor:
    return torch.randn(30, 32, generator=torch.Generator().manual_seed(0)).requires_grad_(True)


def outcome(backbone: CausalBackbone, batch: Batch) -> tuple[Tensor, Tensor, int]:
    """The loss, its gradient, and the bytes that autograd kept for it."""
    vectors, kept = prompt(), {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = backbone.forward(batch, InputTokens(vectors))
        loss = -logits.log_softmax(-1)[:, 5].sum()
    loss.backward()
    assert vectors.grad is not None
    return loss.detach(), vectors.grad, sum(kept.values())


def count_calls(backbone: CausalBackbone) -> list[int]:
    """How often each layer's attention or MLP began, counted by its first child."""
    layers = decoder_layers(backbone.model, backbone.num_layers)
    calls = [0] * len(layers)
    for place, layer in enumerate(layers):

        def count(module: nn.Module, inputs: Any, place: int = place) -> None:
            calls[place] += 1

        next(layer.children()).register_forward_pre_hook(count)
    return calls


@pytest.mark.parametrize("longest", [512, 0], ids=["packed", "padded"])
@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("kind", CONFIGS)
def test_the_same_bits(kind: str, slot: str, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuecard.backbones.causal._PACKED_LENGTH", longest)
    backbone, batch = tiny_backbone(kind), batch_of(slot)
    backbone.forward(batch, InputTokens(prompt()))  # tries what is tried once
    calls = count_calls(backbone)
    loss, gradient, kept = outcome(backbone, batch)
    once = list(calls)
    backbone.recompute = True
    again, regained, less = outcome(backbone, batch)
    assert torch.equal(again, loss) and torch.equal(regained, gradient)
    assert bool((gradient != 0).any())
    assert less < 0.6 * kept
    assert [total - before for total, before in zip(calls, once, strict=True)] == [
        2 * before for before in once
    ]


def test_remembered_inputs_stand_before_recomputed_layers_too() -> None:
    backbone, batch = tiny_backbone(), batch_of("suffix")
    single = collate(
        [(Encoded(tuple(row), (), Placement.at(len(row))), ()) for row in ROWS], read="next"
    )
    backbone.remember([tuple(row) for row in ROWS])
    loss, gradient, _ = outcome(backbone, single)
    assert backbone.counts["remembered"] == sum(map(len, ROWS))
    backbone.recompute = True
    again, regained, _ = outcome(backbone, single)
    assert torch.equal(again, loss) and torch.equal(regained, gradient)
    assert torch.isfinite(outcome(backbone, batch)[0])


@pytest.mark.parametrize("longest", [512, 0], ids=["packed", "padded"])
def test_two_passes_before_one_backward(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuecard.backbones.causal._PACKED_LENGTH", longest)
    found = []
    for recompute in (False, True):
        backbone, vectors = tiny_backbone(), prompt()
        backbone.recompute = recompute
        passes = [backbone.forward(batch_of(slot), InputTokens(vectors)) for slot in SLOTS]
        total = sum(logits.log_softmax(-1)[:, 5].sum() for logits in passes)
        assert isinstance(total, Tensor)
        total.backward(retain_graph=True)
        total.backward()
        found.append(vectors.grad)
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("longest", [512, 0], ids=["packed", "padded"])
def test_the_model_is_its_owners_again(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuecard.backbones.causal._PACKED_LENGTH", longest)
    backbone = tiny_backbone()
    backbone.recompute = True
    before = {name: dict(vars(module)) for name, module in backbone.model.named_modules()}
    attention = backbone.model.config._attn_implementation
    ids = torch.tensor([[5, 6, 7, 8]])
    answer = backbone.model(ids).logits
    outcome(backbone, batch_of("prefix"))
    for name, module in backbone.model.named_modules():
        assert vars(module).keys() == before[name].keys()
    if longest:
        assert backbone.model.config._attn_implementation == attention
    torch.testing.assert_close(backbone.model(ids).logits, answer)


def test_a_layers_own_replacement_stays() -> None:
    backbone = tiny_backbone()
    layer = decoder_layers(backbone.model, 2)[0]
    forward = layer.forward
    layer.__dict__["forward"] = lambda *args, **options: forward(*args, **options)
    own = layer.__dict__["forward"]
    backbone.recompute = True
    outcome(backbone, batch_of("prefix"))
    assert layer.__dict__["forward"] is own


def test_without_gradients_nothing_changes() -> None:
    backbone = tiny_backbone()
    with torch.no_grad():
        plain = backbone.forward(batch_of("prefix"), InputTokens(prompt()))
        backbone.recompute = True
        assert torch.equal(backbone.forward(batch_of("prefix"), InputTokens(prompt())), plain)


def test_layers_that_cannot_be_found_are_an_error() -> None:
    backbone = tiny_backbone()
    backbone.num_layers = 7
    with pytest.raises(BackboneError, match="no list of 7 modules"):
        backbone.recompute = True
    assert not backbone.recompute
