"""Frozen linear layers whose weights are held in 8 or 4 bits.

The weight is made dense for one product at a time, in the forward and again in the backward pass.
torchao's own weight-only layers keep every dense weight for the backward pass, so that a training
step holds the whole model in 16 bits after all; here nothing is kept.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

IntegerForm = Literal["int8", "int4"]


class QuantizedLinear(nn.Module):
    """y = x W^T + b for W = scale * (codes - zero), a scale and a zero per row or group of a row.

    Args:
        form: "int8" has a scale per row; "int4" has a scale and a zero per group.
        codes: [O, I], int8 for "int8" and 0 to 15 for "int4".
        scale: [O, G] for G groups; G is 1 for "int8".
        zero: [O, G] int8; None for "int8".
        bias: [O] or None.
        dtype: of the products.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        form: IntegerForm,
        codes: Tensor,
        scale: Tensor,
        zero: Tensor | None,
        bias: Tensor | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.form, (self.out_features, self.in_features) = form, codes.shape
        packed = codes if form == "int8" else pack(codes, scale.shape[1])
        self.register_buffer("codes", packed)
        self.register_buffer("scale", scale.to(dtype))
        self.register_buffer("zero", zero)
        self.register_buffer("bias", None if bias is None else bias.detach())

    @property
    def weight(self) -> Tensor:
        """[O, I] in the products' type, made anew at each call."""
        dense, scale = self.dense()
        return dense if scale is None else dense * scale[:, None]

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """[O, I], and the rows' scale [O] where the product may be scaled instead of the weight."""
        if self.zero is None:
            # Whole numbers up to 127 are exact in bfloat16: no rounding but the product's own.
            return self.codes.to(self.scale.dtype), self.scale[:, 0]
        groups = unpack(self.codes, self.scale.shape[1]).to(self.scale.dtype)
        groups = groups.sub_(self.zero[..., None]).mul_(self.scale[..., None])
        return groups.view(self.out_features, self.in_features), None

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] -> [..., O]"""
        y: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """For printing."""
        return f"{self.in_features}, {self.out_features}, {self.form}"


class _Product(torch.autograd.Function):
    """x W^T; nothing is kept but the layer itself, since W asks for no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        dense, scale = layer.dense()
        y = functional.linear(x, dense)
        return y if scale is None else y.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        dense, scale = ctx.layer.dense()
        grad: Tensor = grads[0] if scale is None else grads[0] * scale
        return grad @ dense, None


def pack(codes: Tensor, groups: int) -> Tensor:
    """[O, I] of 0 to 15 -> [O, I / 2] uint8: a group's first half in the low bits."""
    rows, width = codes.shape
    low, high = codes.to(torch.uint8).view(rows, groups, 2, -1).unbind(2)
    return (low | (high << 4)).reshape(rows, width // 2)


def unpack(packed: Tensor, groups: int) -> Tensor:
    """[O, I / 2] uint8 -> [O, G, I / G] uint8 of 0 to 15."""
    halves = packed.view(len(packed), groups, -1)
    return torch.cat([halves & 15, halves >> 4], -1)
