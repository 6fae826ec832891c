"""Optimisers and learning rates of a few vectors beside a frozen table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module, torch
from cuecard.training.config import TrainConfig
from cuecard.types import ParameterGroup

transformers_optimization = lazy_module("transformers.optimization")

if TYPE_CHECKING:
    from torch import Tensor

# A step of Adam moves a coordinate by about lr. Embedding tables differ in scale by a factor of
# ten, so the rate is a share of the table's RMS; LoRA's 1e-4 would look like "it does not learn".
_ADAMW_SHARE = 0.07
_ADAFACTOR_LR = 0.3
# The middle of the rates that Jia et al. (2022) try, for a batch of 64.
_SGD_LR, _MOMENTUM = 0.25, 0.9


def default_lr(config: TrainConfig, inputs: Tensor) -> float:
    """The learning rate where the user gave none.

    Args:
        inputs: the backbone's typical ones.
    """
    if config.optimizer != "adamw":
        return {"adafactor": _ADAFACTOR_LR, "sgd": _SGD_LR}[config.optimizer]
    return float(f"{_ADAMW_SHARE * rms(inputs):.3g}")


def rms(table: Tensor) -> float:
    """Root mean square of all entries."""
    return math.sqrt(float(table.detach().float().pow(2).mean()))


def make_optimizer(
    config: TrainConfig, lr: float, groups: Sequence[ParameterGroup], inputs: Tensor
) -> torch.optim.Optimizer:
    """The optimiser over the method's parameters alone.

    Args:
        lr: the run's peak rate, for groups without one of their own.
        inputs: the backbone's typical ones, which the default rate follows.

    Raises:
        ConfigError: a learning rate that is not a positive number.
    """
    if not (math.isfinite(lr) and lr > 0):
        raise ConfigError(
            "the learning rate must be a positive number", where="lr", got=lr, expected="> 0"
        )
    decay = config.weight_decay

    def peak(group: ParameterGroup) -> float:
        if group.lr == "embeddings":
            # Its steps are as large as the gradients: no scale of the inputs to follow.
            return lr if config.optimizer == "sgd" else default_lr(config, inputs)
        return lr if group.lr is None else group.lr

    parameters = [{"params": list(group.parameters), "peak": peak(group)} for group in groups]
    if config.optimizer == "adafactor":
        adafactor: torch.optim.Optimizer = transformers_optimization.Adafactor(
            parameters,
            lr=lr,
            scale_parameter=False,
            relative_step=False,
            warmup_init=False,
            weight_decay=1e-5 if decay is None else decay,
        )
        return adafactor
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=_MOMENTUM, weight_decay=decay or 0.0)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay or 0.0)


def lr_share(step: int, config: TrainConfig) -> float:
    """The share of its peak that a rate has at a step counted from 0.

    A pure function, so resuming needs no state.
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    left = 1 - (step - config.warmup) / max(1, config.steps - config.warmup)
    if config.schedule == "linear":
        return max(left, 0.0)
    return 0.5 * (1 - math.cos(math.pi * min(max(left, 0.0), 1.0)))


def set_lr(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Give every group this share of its peak rate."""
    group: dict[str, Any]
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
