"""Gated MLPs (SwiGLU) with a hand-written gradient that keeps two tensors instead of three."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuecard.backbones.kernels.fused import does_the_same
from cuecard.backbones.quantization.linear import QuantizedLinear

_PARTS = ("gate_proj", "up_proj", "down_proj")


class SwiGlu(torch.autograd.Function):
    """silu(gate) * up, elementwise (Shazeer, 2020, arXiv:2002.05202)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        through = torch.ops.aten.silu_backward(grads[0] * up, gate)
        return through, functional.silu(gate).mul_(grads[0])


def gated_mlp(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The module's own products around `SwiGlu`, if that gives the same; else None."""
    parts = [getattr(module, name, None) for name in _PARTS]
    if not all(isinstance(part, nn.Linear | QuantizedLinear) for part in parts):
        return None
    gate, up, down = cast("list[nn.Module]", parts)

    def forward(x: Tensor) -> Tensor:
        gated = SwiGlu.apply(gate(x), up(x))  # type: ignore[no-untyped-call]
        return torch.as_tensor(down(gated))

    return forward if does_the_same(module, forward, torch.as_tensor(gate.weight)) else None
