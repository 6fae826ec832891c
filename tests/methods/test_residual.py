"""Residual prompts against the formula in float64."""

from __future__ import annotations

import itertools

import pytest
import torch

from cuecard.methods import ResidualPromptTuning
from cuecard.methods.modules.residual_prompt import ResidualPrompt
from support.init_context import context

KINDS = list(itertools.product([False, True], [False, True]))


def made(layer_norm: bool, separate: bool) -> ResidualPrompt:
    settings = ResidualPromptTuning(
        length=5, init="random", bottleneck=3, layer_norm=layer_norm, separate=separate
    )
    return settings.build(context())


@pytest.mark.parametrize(("layer_norm", "separate"), KINDS)
def test_it_starts_at_the_inits_vectors_exactly(layer_norm: bool, separate: bool) -> None:
    method = made(layer_norm, separate)
    start = ResidualPromptTuning(length=5, init="random").start(context())
    assert torch.equal(method.injection().vectors, start)


@pytest.mark.parametrize(("layer_norm", "separate"), KINDS)
def test_the_formula(layer_norm: bool, separate: bool) -> None:
    method = made(layer_norm, separate)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter))
    of = {name: tensor.double() for name, tensor in method.state_dict().items()}
    rows = []
    for index, p in enumerate(of["vectors"]):
        net = index if separate else 0
        middle = (p @ of["down"][net] + of["down_bias"][net, 0]).relu()
        out = middle @ of["up"][net]
        if layer_norm:
            out = (out - out.mean()) / (out.var(unbiased=False) + 1e-5).sqrt()
            out = out * of["gain"][net, 0]
        rows.append(p + out + of["up_bias"][net, 0])
    found = method.injection().vectors.double()
    torch.testing.assert_close(found, torch.stack(rows), atol=1e-5, rtol=1e-5)


def test_separate_networks_do_not_share() -> None:
    counts = [sum(p.numel() for p in made(True, separate).parameters()) for separate in (0, 1)]
    assert counts[1] - 5 * 8 == 5 * (counts[0] - 5 * 8)


@pytest.mark.parametrize(("layer_norm", "separate"), KINDS)
def test_every_parameter_learns(layer_norm: bool, separate: bool) -> None:
    method = made(layer_norm, separate)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
    goal = torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
    for _ in range(3):
        optimizer.zero_grad()
        (method.injection().vectors - goal).pow(2).sum().backward()
        optimizer.step()
    for name, tensor in method.state_dict().items():
        assert not torch.equal(tensor, before[name]), name


def test_two_rates() -> None:
    vectors, weights = made(True, False).groups()
    assert vectors.lr is None and weights.lr == 1e-4
    assert len(weights.parameters) == 5
