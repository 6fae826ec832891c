"""Vectors at every layer's input, and what a text makes of itself there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cuecard.backbones.kernels.checkpointing import decoder_layers
from cuecard.backbones.kernels.layer_tokens import PlacedLayerTokens, replacing, watching
from cuecard.errors import BackboneError
from cuecard.tasks import collate
from cuecard.types import Encoded, InputTokens, LayerTokens, PrefixKV
from support.tiny import CONFIGS, tiny_backbone, tiny_model

VECTORS = torch.randn(4, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("length", [4, 40], ids=["short", "beyond a window"])
def test_a_prompts_own_states_answer_as_the_prompt(kind: str, length: int) -> None:
    """As keys and values, and as vectors of every layer."""
    backbone = tiny_backbone(kind)
    vectors = VECTORS.repeat(length // 4, 1)
    rows = [Encoded((5, 6, 7), ()), Encoded((9, 6), ()), Encoded((30,) * 12, ())]
    batch = collate([(row, ()) for row in rows], read="next")
    states = backbone.states(vectors)
    with torch.no_grad():
        expected = backbone.forward(batch, InputTokens(vectors))
        for same in (PrefixKV(states.keys_values), LayerTokens(states.hidden)):
            found = backbone.forward(batch, same)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        other = LayerTokens(states.hidden.index_fill(0, torch.tensor([1]), 0.5))
        assert not torch.allclose(backbone.forward(batch, other), expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom-alibi"])
def test_states_leave_no_trace(kind: str) -> None:
    backbone = tiny_backbone(kind)
    backbone.states(VECTORS)
    assert not any(backbone.counts.values())
    for layer in decoder_layers(backbone.model, 2):
        assert not layer._forward_pre_hooks


def test_layers_that_do_not_run_are_noticed() -> None:
    layers = [nn.Identity(), nn.Identity()]
    deep = PlacedLayerTokens(torch.ones(2, 1, 3), torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(BackboneError, match="not every layer"), replacing(layers, [deep]):
        layers[0](torch.zeros(1, 2, 3))
    with replacing(layers, [deep]), watching(layers) as seen:
        for layer in layers:
            layer(torch.zeros(1, 2, 3))
    assert seen[1].tolist() == [[[1, 1, 1], [0, 0, 0]]]


def test_layers_that_cannot_be_found() -> None:
    with pytest.raises(BackboneError, match="cannot be found"):
        decoder_layers(tiny_model(), 3)


@pytest.mark.parametrize(
    "wrong",
    [PrefixKV(torch.zeros(2, 2, 3, 1, 8)), LayerTokens(torch.zeros(3, 1, 32))],
    ids=["key heads", "layers"],
)
def test_other_sizes_are_refused(wrong: PrefixKV | LayerTokens) -> None:
    batch = collate([(Encoded((5,), ()), ())], read="next")
    with pytest.raises(BackboneError, match="do not fit this backbone"):
        tiny_backbone().forward(batch, wrong)
