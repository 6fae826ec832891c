"""VPT's projection and dropout and VFPT's transform against their formulas, in float64.

[Re(F(Y_f)); Y_r] with Y = dropout(Z W^T + b); see `methods/image_options.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cuecard.methods import DeepPrompts, PromptTuning
from cuecard.methods.modules.shaped_prompt import ShapedPrompt
from cuecard.training.trainables.initial_method import init_context
from support.tiny_vision import LAYERS, SPEC, WIDTH, pictures, shared_vision

RECORDS = pictures(8)


def made(deep: bool, **settings: Any) -> ShapedPrompt:
    method = (DeepPrompts if deep else PromptTuning)(**{"init": "xavier", **settings})
    found = method.build(init_context(shared_vision("vit"), SPEC, 0, RECORDS))
    assert isinstance(found, ShapedPrompt)
    return found


def plain(deep: bool, **settings: Any) -> Tensor:
    """[L, P, H] where the same method starts without options."""
    method = (DeepPrompts if deep else PromptTuning)(**{"init": "xavier", **settings})
    vectors = method.build(init_context(shared_vision("vit"), SPEC, 0, RECORDS)).injection().vectors
    return vectors.detach().double().view(-1, method.size, WIDTH)


def vectors_of(prompt: ShapedPrompt) -> Tensor:
    return prompt.injection().vectors.detach().double().view(-1, prompt.first.shape[1], WIDTH)


def waves(vectors: Tensor) -> Tensor:
    """Re F, written out: sum over p and h of y_ph cos(2 pi (u p / P + v h / H))."""
    length, width = vectors.shape[1:]
    u, v = torch.arange(length).double(), torch.arange(width).double()
    turns = torch.einsum("u,p->up", u, u)[:, None, :, None] / length
    turns = turns + torch.einsum("v,h->vh", v, v)[None, :, None, :] / width
    return torch.einsum("lph,uvph->luv", vectors, torch.cos(2 * math.pi * turns))


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.6, 3), (1.0, 5)])
def test_a_share_goes_through_the_transform(share: float, count: int, deep: bool) -> None:
    start = plain(deep, length=5)
    wanted = torch.cat([waves(start[:, :count]), start[:, count:]], 1)
    found = vectors_of(made(deep, length=5, fourier=share))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("deep", [False, True])
def test_another_init_is_where_the_transform_leads_as_nearly_as_it_can(deep: bool) -> None:
    """Nearest in its range: what is left over is at right angles to what the transform can give."""
    start = plain(deep, length=5, init="patches")
    found = vectors_of(made(deep, length=5, init="patches", fourier=0.6))
    torch.testing.assert_close(found[:, 3:], start[:, 3:], atol=1e-5, rtol=1e-5)
    drawn = torch.randn(found[:, :3].shape, generator=torch.Generator().manual_seed(3)).double()
    left, reach = start[:, :3] - found[:, :3], waves(drawn)
    assert abs(float((left * reach).sum())) < 1e-3 * float(left.norm() * reach.norm())
    assert float(found[:, :3].norm()) > 0.5 * float(start[:, :3].norm())


def test_a_step_moves_both_parts_alike() -> None:
    """Free numbers are divided by what the transform enlarges, sqrt(P_f H)."""
    prompt = made(False, length=8, fourier=0.5)
    before = vectors_of(prompt)[0]
    step = torch.randn(prompt.first.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        prompt.first.add_(step)
    moved = (vectors_of(prompt)[0] - before).pow(2).mean(1).sqrt()
    # Half of a real matrix's energy is in the real part of its transform.
    assert float(moved[:4].mean()) == pytest.approx(math.sqrt(0.5), rel=0.2)
    assert float(moved[4:].mean()) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("deep", [False, True])
def test_a_projection_is_drawn_as_in_the_paper(deep: bool) -> None:
    prompt = made(deep, length=40, projection=24)
    assert prompt.weight is not None and prompt.bias is not None
    free = prompt.first if prompt.others is None else torch.cat([prompt.first, prompt.others])
    assert free.shape == (LAYERS if deep else 1, 40, 24)
    bound = math.sqrt(6 / (3 * 8 * 8 + 24))
    assert 0.95 * bound < float(free.detach().abs().max()) <= bound
    # Kaiming's normal, fan out.
    assert float(prompt.weight.detach().std()) == pytest.approx(math.sqrt(2 / WIDTH), rel=0.1)
    wanted = free.double() @ prompt.weight.double().T + prompt.bias.double()
    torch.testing.assert_close(vectors_of(prompt), wanted.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("deep", [False, True])
def test_another_init_is_where_a_projected_prompt_starts(deep: bool) -> None:
    start = plain(deep, length=3, init="patches")
    enough = vectors_of(made(deep, length=3, init="patches", projection=10))
    torch.testing.assert_close(enough, start, atol=1e-4, rtol=1e-4)
    fewer = vectors_of(made(deep, length=3, init="patches", projection=1))
    assert 0 < float((fewer - start).norm()) < float((start - start.mean((0, 1))).norm())


@pytest.mark.parametrize("deep", [False, True])
def test_dropout_is_drawn_by_its_numbers_and_for_training_alone(deep: bool) -> None:
    prompt = made(deep, length=50, dropout=0.25)
    start = vectors_of(prompt)

    def noisy(*draw: int) -> Tensor:
        return prompt.noisy_injection(draw).vectors.detach().double().view(start.shape)

    dropped = noisy(0, 1, 2)
    kept = np.random.default_rng((0, 1, 2)).random(tuple(start.shape)) >= 0.25
    wanted = start * torch.from_numpy(kept) / 0.75
    torch.testing.assert_close(dropped, wanted, atol=1e-6, rtol=1e-6)
    assert 0.7 < kept.mean() < 0.8
    assert torch.equal(dropped, noisy(0, 1, 2)) and not torch.equal(dropped, noisy(0, 1, 3))
    assert torch.equal(vectors_of(prompt), start)


@pytest.mark.parametrize("deep", [False, True])
def test_every_parameter_learns_at_one_rate(deep: bool) -> None:
    prompt = made(deep, length=5, fourier=0.4, projection=7, dropout=0.1, projection_lr=0.003)
    mix = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(2))
    (prompt.noisy_injection((0, 0)).vectors * mix).sum().backward()
    groups = prompt.groups()
    rates = {id(p): group.lr for group in groups for p in group.parameters}
    assert len(rates) == sum(len(g.parameters) for g in groups) == len([*prompt.parameters()])
    assert all(p.grad is not None and bool(p.grad.any()) for p in prompt.parameters())
    assert rates[id(prompt.weight)] == 0.003
    assert rates[id(prompt.first)] is None
