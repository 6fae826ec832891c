"""Root-mean-square norms with the gradient written out: half the time, a third of the memory.

A model's own norm upcasts, squares, averages, scales and downcasts in operations that each keep
their input for the backward pass. Which modules are such norms is found out by trying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_LAST_BITS = 4 * torch.finfo(torch.float32).eps
_EPSILONS = ("variance_epsilon", "eps", "epsilon")


class RmsNorm(torch.autograd.Function):
    """y = weight * x / sqrt(mean(x^2) + eps) over the last dimension, for a frozen weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        unit: Tensor = (wide * scale).to(x.dtype)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        grad = (grads[0] * weight).float()
        unit = x.float().mul_(scale)
        along = (grad * unit).mean(-1, keepdim=True)
        return grad.sub_(unit.mul_(along)).mul_(scale).to(x.dtype), None, None


class FusedNorms:
    """A model's norms of this kind, and a way to run them fused for a while."""

    def __init__(self, model: nn.Module) -> None:
        self._found = [
            (module, eps) for module in model.modules() if (eps := _epsilon(module)) is not None
        ]

    def __len__(self) -> int:
        return len(self._found)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Replace the norms; they are as they were afterwards."""
        for module, eps in self._found:
            module.__dict__["forward"] = _forward(module, eps)
        try:
            yield
        finally:
            for module, _ in self._found:
                del module.__dict__["forward"]


def _forward(module: nn.Module, eps: float) -> Callable[[Tensor], Tensor]:
    weight = module.get_parameter("weight")
    return lambda x: RmsNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]


def _epsilon(module: nn.Module) -> float | None:
    """The norm's epsilon if the module gives what `RmsNorm` gives, to float32's last bits."""
    parameters = dict(module.named_parameters())
    eps = next((getattr(module, name) for name in _EPSILONS if hasattr(module, name)), None)
    if set(parameters) != {"weight"} or not isinstance(eps, float) or "forward" in vars(module):
        return None
    weight = parameters["weight"]
    if weight.ndim != 1 or any(module.children()):
        return None
    tried = torch.linspace(-3, 3, 4 * len(weight), device=weight.device, dtype=weight.dtype)
    tried = tried.view(4, -1).sin()
    with torch.no_grad():
        ours, theirs = _forward(module, eps)(tried), module(tried)
    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        return None
    near = _LAST_BITS * float(theirs.abs().max())
    return eps if float((ours - theirs).abs().max()) <= near else None
