"""What a model takes is found out once, by trying, and leaves no trace."""

from __future__ import annotations

import pytest
import torch

from cuecard.errors import BackboneError
from cuecard.tasks import collate
from cuecard.types import Encoded, InjectionKind, InputTokens
from support.tiny import CONFIGS, tiny_backbone

KINDS: tuple[InjectionKind, ...] = ("input-tokens", "token-shifts", "prefix-kv", "layer-tokens")


@pytest.mark.parametrize("name", CONFIGS)
def test_tiny_backbones_take_everything(name: str) -> None:
    backbone = tiny_backbone(name)
    assert all(backbone.unsupported(kind) is None for kind in KINDS)
    assert not any(backbone.counts.values())
    backbone.model.forward = None  # every answer is known by now
    assert all(backbone.unsupported(kind) is None for kind in KINDS)


def test_a_tower_of_another_family() -> None:
    reason = tiny_backbone().unsupported("input-tokens", "decoder")
    assert reason == "a causal language model does not take input-tokens in the decoder"


def test_layers_that_cannot_be_found_are_told() -> None:
    backbone = tiny_backbone()
    backbone.model.model.layers = torch.nn.ModuleList(backbone.model.model.layers[:1])
    assert "does not let them in" in str(backbone.unsupported("layer-tokens"))


def test_other_widths_are_refused() -> None:
    batch = collate([(Encoded((5,), ()), ())], read="next")
    for wrong in (
        InputTokens(torch.zeros(2, 31)),
        InputTokens(torch.zeros(2, 32), torch.zeros(3, 31)),
    ):
        with pytest.raises(BackboneError, match=r"shape \(any, 32\)"):
            tiny_backbone().forward(batch, wrong)
