from __future__ import annotations

import math

import pytest
import torch

from cuecard.training.config import TrainConfig
from cuecard.training.optim import default_lr, lr_share, make_optimizer, rms, set_lr
from cuecard.types import ParameterGroup


def test_default_rates_follow_the_table() -> None:
    table = torch.randn(1000, 16) * 0.02
    small = default_lr(TrainConfig(), table)
    assert default_lr(TrainConfig(), table * 10) == pytest.approx(10 * small, rel=1e-2)
    assert small < rms(table)
    assert default_lr(TrainConfig(optimizer="adafactor"), table) == 0.3


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_schedules(schedule: str) -> None:
    config = TrainConfig.model_validate({"steps": 100, "warmup": 10, "schedule": schedule})
    rates = [0.5 * lr_share(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.05) and rates[9] == pytest.approx(0.5)
    assert max(rates) == pytest.approx(0.5)
    middle, end = {
        "constant": (0.5, 0.5),
        "linear": (0.25, 0.5 * (1 - 89 / 90)),
        "cosine": (0.25, 0.5 * 0.5 * (1 - math.cos(math.pi / 90))),
    }[schedule]
    assert rates[55] == pytest.approx(middle)
    assert rates[99] == pytest.approx(end)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "sgd"])
def test_optimisers_lower_a_quadratic(name: str) -> None:
    at = torch.nn.Parameter(torch.ones(4, 8))
    optimizer = make_optimizer(
        TrainConfig.model_validate({"optimizer": name}), 0.1, [ParameterGroup((at,))], at
    )
    for _ in range(50):
        optimizer.zero_grad()
        at.pow(2).sum().backward()
        optimizer.step()
    assert float(at.detach().abs().max()) < 0.2
    set_lr(optimizer, 0.0)
    before = at.detach().clone()
    at.pow(2).sum().backward()
    optimizer.step()
    torch.testing.assert_close(at.detach(), before)


def test_groups_learn_at_their_own_rates() -> None:
    first, second, third = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    groups = [
        ParameterGroup((first,)),
        ParameterGroup((second,), 0.001),
        ParameterGroup((third,), "embeddings"),
    ]
    optimizer = make_optimizer(TrainConfig(), 0.1, groups, 2 * torch.ones(5, 2))
    for share, expected in ((1.0, [0.1, 0.001, 0.14]), (0.5, [0.05, 0.0005, 0.07])):
        set_lr(optimizer, share)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(expected)
    set_lr(optimizer, 1.0)
    (first.sum() + second.sum()).backward()
    optimizer.step()
    torch.testing.assert_close(first.detach(), torch.full((2,), 0.9))
    torch.testing.assert_close(second.detach(), torch.full((2,), 0.999))


def test_plain_gradient_descent_with_momentum() -> None:
    """Rates by hand: v <- 0.9 v + g + decay x, x <- x - lr v, and no group's rate is Adam's."""
    config = TrainConfig(optimizer="sgd", weight_decay=0.1)
    first, second = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    groups = [ParameterGroup((first,), "embeddings"), ParameterGroup((second,), 0.02)]
    optimizer = make_optimizer(config, 0.5, groups, torch.ones(5, 2))
    set_lr(optimizer, 1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.02]
    (first.sum() + second.sum()).backward()
    optimizer.step()
    optimizer.step()
    at, speed = 1.0, 0.0
    for _ in range(2):
        speed = 0.9 * speed + 1.0 + 0.1 * at
        at -= 0.02 * speed
    torch.testing.assert_close(second.detach(), torch.full((2,), at))
    assert default_lr(config, torch.ones(5, 2)) == 0.25
