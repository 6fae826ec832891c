"""ATTEMPT against its formula in float64, and what it refuses.

The formula in a backbone: tests/contract/test_methods.py.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cuecard.errors import BackboneError, ConfigError
from cuecard.methods import ATTEMPT
from cuecard.tasks import collate
from cuecard.types import InputTokens, Towers
from support.data.reviews import SPEC, reviews
from support.init_context import context
from support.tiny import shared_backbone

SOURCES = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))


def made(**options: Any) -> Any:
    settings = ATTEMPT(**({"sources": SOURCES, "init": "random", "bottleneck": 5} | options))
    return settings.build(context())


def formula(method: Any, pooled: Tensor, temperature: float) -> Tensor:
    """[P, H] of one input, prompt by prompt."""
    down, up, norm, bias, own = (
        part.detach().double()
        for part in (method.down, method.up, method.norm, method.norm_bias, method.vectors)
    )
    query = functional.layer_norm(up @ functional.silu(down @ pooled.double()), (8,), norm, bias)
    prompts = [*SOURCES.double(), own]
    scores = torch.stack([prompt.max(0).values @ query for prompt in prompts]) / temperature
    shares = scores.softmax(0)
    return own + sum(
        (share * prompt for share, prompt in zip(shares, prompts, strict=True)),
        torch.zeros(4, 8, dtype=torch.float64),
    )


@pytest.mark.parametrize("temperature", [None, 0.3])
def test_the_formula(temperature: float | None) -> None:
    method = made(temperature=temperature)
    with torch.no_grad():
        for part in (method.norm, method.norm_bias):
            part.add_(torch.randn(8))
    pooled = torch.randn(2, 8)
    mix = method.injection().mix
    found = mix(method.injection().vectors, pooled)
    for each, one in zip(found, pooled, strict=True):
        expected = formula(method, one, temperature or math.e * 8)
        torch.testing.assert_close(each.double(), expected, atol=1e-5, rtol=1e-5)
    weights = mix.weights(torch.randn(4, 8), pooled)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


def test_sources_stay_and_the_rest_learns_at_two_rates() -> None:
    method = made(attention_lr=0.25)
    vectors, attention = method.groups()
    assert vectors.lr is None and vectors.parameters == (method.vectors,)
    assert attention.lr == 0.25
    assert {id(p) for group in method.groups() for p in group.parameters} == {
        id(p) for p in method.parameters()
    }
    injection = method.injection()
    injection.mix(injection.vectors, torch.randn(2, 8)).pow(2).sum().backward()
    assert all(bool(parameter.grad.any()) for parameter in method.parameters())
    assert not method.sources.requires_grad and "sources" in method.state_dict()


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="no source prompts"):
        made(sources=None)
    with pytest.raises(ConfigError, match=r"shape \(3, 4, 8\)"):
        made(length=5)
    with pytest.raises(ConfigError, match="do not fit this prompt or backbone"):
        made(sources=torch.randn(3, 4, 9))
    backbone = shared_backbone("t5-gated")
    rows = [SPEC.encode(record, backbone.tokenizer, "prefix") for record in reviews(2)]
    batch = collate([(row, ()) for row in rows], read="next")
    mixed = InputTokens(torch.zeros(4, 8), mix=made().injection().mix)
    with pytest.raises(BackboneError, match="a prompt that depends on the input"):
        backbone.forward(batch, Towers({"decoder": mixed}))  # its answer's beginning is no input
