"""RMS norms with a hand-written gradient: half the time, a third of the memory.

A model's own norm upcasts, squares, averages, scales and downcasts in operations that each keep
their input for the backward pass. Which modules are such norms is found out by trying.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cuecard.backbones.kernels.fused import does_the_same

_EPSILONS = ("variance_epsilon", "eps", "epsilon")


class RmsNorm(torch.autograd.Function):
    """y = weight * x / sqrt(mean(x^2) + eps) over the last dimension, for a frozen weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        unit: Tensor = (wide * scale if wide is x else wide.mul_(scale)).to(x.dtype)
        return unit.mul_(weight) if unit.dtype == weight.dtype else unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        grad = (grads[0] * weight).float()
        unit = x.float() * scale
        along = (grad * unit).mean(-1, keepdim=True)
        return grad.sub_(unit.mul_(along)).mul_(scale).to(x.dtype), None, None


def rms_norm(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """`RmsNorm` for a module that gives the same, to float32's last bits; else None."""
    parameters = dict(module.named_parameters())
    eps = next((getattr(module, name) for name in _EPSILONS if hasattr(module, name)), None)
    if set(parameters) != {"weight"} or not isinstance(eps, float) or any(module.children()):
        return None
    weight = parameters["weight"]
    if weight.ndim != 1:
        return None

    def forward(x: Tensor) -> Tensor:
        return RmsNorm.apply(x, weight, eps)  # type: ignore[no-any-return,no-untyped-call]

    return forward if does_the_same(module, forward, weight) else None
