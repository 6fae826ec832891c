"""Multitask prompts against the formula in float64."""

from __future__ import annotations

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import MPT, TaskPrompts
from cuecard.methods.mpt import mean_start
from support.init_context import context

SETTINGS = MPT(length=5, init="random", factors_lr=0.03)


def moved(tasks: int = 3) -> TaskPrompts:
    method = SETTINGS.build_for(tasks, context())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return method


def test_every_task_starts_at_the_shared_prompt_exactly() -> None:
    method = SETTINGS.build_for(3, context())
    start = SETTINGS.start(context())
    for task in range(3):
        assert torch.equal(method.injection(task).vectors, start)
    assert torch.equal(SETTINGS.build(context()).injection().vectors, start)


def test_the_formula_and_its_gradients() -> None:
    method = moved()
    exact = {name: p.detach().double().requires_grad_() for name, p in method.named_parameters()}
    weight = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    for task in range(3):
        u, v = exact["columns"][task], exact["rows"][task]
        expected = exact["vectors"] * torch.outer(u, v)
        found = method.injection(task).vectors
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)
        ((weight.double() * expected) ** 2).sum().backward()
        ((weight * found) ** 2).sum().backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None and exact[name].grad is not None
        torch.testing.assert_close(parameter.grad.double(), exact[name].grad, rtol=1e-4, atol=1e-6)


def test_a_task_moves_the_shared_vectors_and_its_own_factors_alone() -> None:
    method = moved()
    method.injection(1).vectors.sum().backward()
    grads = {name: parameter.grad for name, parameter in method.named_parameters()}
    assert all(grad is not None for grad in grads.values())
    assert bool((grads["vectors"] != 0).all())
    for name in ("columns", "rows"):
        assert bool((grads[name][1] != 0).all())
        assert not bool(grads[name][[0, 2]].any())


def test_one_task_alone_is_a_copy() -> None:
    method = moved()
    own = method.alone(2)
    assert torch.equal(own.injection().vectors, method.injection(2).vectors)
    with torch.no_grad():
        method.vectors.zero_()
    assert bool(own.injection().vectors.any())


def test_two_learning_rates() -> None:
    shared, factors = moved().groups()
    assert (shared.lr, factors.lr) == (None, 0.03)
    assert sum(p.numel() for g in (shared, factors) for p in g.parameters) == 5 * 8 + 3 * (5 + 8)


def test_the_mean_of_the_products_is_not_the_product_of_the_means() -> None:
    method = moved()
    products = [method.injection(task).vectors for task in range(3)]
    found = mean_start(method.vectors, method.columns, method.rows)
    torch.testing.assert_close(found, torch.stack(products).mean(0), rtol=1e-5, atol=1e-7)
    naive = method.vectors * torch.outer(method.columns.mean(0), method.rows.mean(0))
    assert not torch.allclose(found, naive, rtol=1e-3, atol=1e-6)


def test_a_rate_that_is_none() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        MPT(factors_lr=0)
    with pytest.raises(ConfigError):
        MPT(init="prompt")
