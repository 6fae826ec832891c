"""DePT against the formula in float64."""

from __future__ import annotations

import math

import torch

from cuecard.methods import DePT
from support.init_context import context


def test_the_formula() -> None:
    method = DePT(length=3, init="random", rank=4, tokens=7, alpha=2.0).build(context())
    with torch.no_grad():
        method.b.normal_()
    shifts = method.injection().shifts
    expected = 2.0 / math.sqrt(4) * (method.a.double() @ method.b.double())
    assert shifts is not None and shifts.shape == (7, 8)
    torch.testing.assert_close(shifts.double(), expected, atol=1e-5, rtol=1e-5)
    assert method.injection().vectors is method.vectors


def test_it_starts_without_a_shift_and_both_factors_learn() -> None:
    method = DePT(length=3, init="random", rank=4, tokens=7).build(context())
    shifts = method.injection().shifts
    assert shifts is not None and not bool(shifts.any())
    start = [method.a.clone(), method.b.clone()]
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for _ in range(2):
        found = method.injection().shifts
        assert found is not None
        optimizer.zero_grad()
        (found - 1).pow(2).sum().backward()
        optimizer.step()
    assert not torch.equal(method.a, start[0]) and not torch.equal(method.b, start[1])


def test_two_rates() -> None:
    method = DePT(length=3, init="random", update_lr=0.25).build(context())
    vectors, factors = method.groups()
    assert vectors.lr is None and factors.lr == 0.25
    assert factors.parameters == (method.a, method.b)
