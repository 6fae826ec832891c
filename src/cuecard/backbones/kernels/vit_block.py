"""A ViT's layer, written out with its gradient to what it takes in; its weights are frozen.

    x' = x + s1 O(attend(Q y, K y, V y)), y = norm1(x);   x'' = x' + s2 down(act(up(norm2(x'))))

(Dosovitskiy et al., ICLR 2021, section 3.1; s1 and s2 of Touvron et al., ICCV 2021, section 2, or
1.) No gradient of a weight is made, nothing is kept that the gradient does without, and of the last
layer only what is read is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_SHORT = 128 * 128
"""Scores of a row and head up to which attention is two plain products, faster there than SDPA."""


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function and its gradient, of the gradient behind it and its input."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


def _gelu(kind: str) -> Activation:
    return Activation(
        lambda x: functional.gelu(x, approximate=kind),
        lambda grad, x: torch.ops.aten.gelu_backward(grad, x, approximate=kind),
    )


def _quick(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _quick_backward(grad: Tensor, x: Tensor) -> Tensor:
    gate = torch.sigmoid(1.702 * x)
    return (1 - gate).mul_(1.702 * x).add_(1).mul_(gate).mul_(grad)


ACTIVATIONS = (_gelu("none"), _gelu("tanh"), Activation(_quick, _quick_backward))
"""What encoders have: GELU, its approximation (SigLIP), and CLIP's."""


@dataclass(frozen=True, slots=True)
class VitBlock:
    """The parts of a layer.

    Attributes:
        norm1, query, key, value, out: of its attention.
        norm2, up, down: of its MLP.
        heads: h.
        activation: between the MLP's products.
        scales: s1 and s2 [H], or None for none.
    """

    norm1: nn.LayerNorm
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear
    norm2: nn.LayerNorm
    up: nn.Linear
    down: nn.Linear
    heads: int
    activation: Activation
    scales: tuple[Tensor, Tensor] | None

    def __call__(
        self, rows: Tensor, fronts: Tensor | None = None, counts: Sequence[int] = (), read: int = 0
    ) -> Tensor:
        """[B, S, H] -> [B, S, H], or [B, read, H] at the first places alone.

        Args:
            fronts: [R, 2, h, P, D] keys and values in front of the rows' own, of R parts.
            counts: how many rows each part has.
            read: 0 for all.
        """
        mixed = _Attention.apply(rows, fronts, self, counts, read)  # type: ignore[no-untyped-call]
        return torch.as_tensor(_Mlp.apply(mixed, self))  # type: ignore[no-untyped-call]

    def keys_values(self, vectors: Tensor) -> Tensor:
        """[2, h, P, D] what vectors [P, H] among the layer's inputs are to all other tokens."""
        normed = self.norm1(vectors)
        pair = torch.stack([self.key(normed), self.value(normed)])
        return pair.view(2, len(vectors), self.heads, -1).transpose(1, 2)


class _Attention(torch.autograd.Function):
    """x + s1 O(attend(Q y, K y, V y)), of which the first `read` places, or all for 0."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, fronts: Tensor | None, block: VitBlock, counts: Any, read: int
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        read = read or x.shape[1]
        y, mean, rstd = _norm(block.norm1, x)
        q = _heads(block.query(y[:, :read]), block.heads)
        k, v = (_heads(project(y), block.heads) for project in (block.key, block.value))
        if fronts is not None:
            k, v = (
                torch.cat([for_rows(fronts[:, n], counts), own], 2) for n, own in ((0, k), (1, v))
            )
        mixed, kept = _attend(q, k, v, keep)
        found = block.out(_joined(mixed))
        if block.scales is not None:
            found.mul_(block.scales[0])
        if keep:
            ctx.block, ctx.counts, ctx.kept = block, counts, kept
            ctx.save_for_backward(x, fronts, mean, rstd, q, k, v)
        return torch.as_tensor(found.add_(x[:, :read]))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, fronts, mean, rstd, q, k, v = ctx.saved_tensors
        block, (grad,) = ctx.block, grads
        scaled = grad if block.scales is None else grad * block.scales[0]
        back = _heads(torch.matmul(scaled, block.out.weight), block.heads)
        dq, dk, dv = _attend_backward(back.contiguous(), q, k, v, ctx.kept)
        ahead, found, of_fronts = 0, None, None
        if fronts is not None:
            ahead = fronts.shape[3]
            pair = torch.stack([dk[:, :, :ahead], dv[:, :, :ahead]], 1)
            of_fronts = torch.stack([part.sum(0) for part in torch.split(pair, ctx.counts)])
        if ctx.needs_input_grad[0]:
            through = _products_backward(dq, dk[:, :, ahead:], dv[:, :, ahead:], block)
            found = _norm_backward(block.norm1, through, x, mean, rstd)
            found[:, : grad.shape[1]] += grad
        return found, of_fronts, None, None, None


class _Mlp(torch.autograd.Function):
    """x + s2 down(act(up(norm2(x))))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: VitBlock) -> Tensor:
        y, mean, rstd = _norm(block.norm2, x)
        wide = block.up(y)
        found = block.down(block.activation.forward(wide))
        if block.scales is not None:
            found.mul_(block.scales[1])
        if ctx.needs_input_grad[0]:
            ctx.block = block
            ctx.save_for_backward(x, mean, rstd, wide)
        return torch.as_tensor(found.add_(x))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, mean, rstd, wide = ctx.saved_tensors
        block, (grad,) = ctx.block, grads
        back = grad if block.scales is None else grad * block.scales[1]
        back = block.activation.backward(torch.matmul(back, block.down.weight), wide)
        back = torch.matmul(back, block.up.weight)
        return _norm_backward(block.norm2, back, x, mean, rstd).add_(grad), None


def for_rows(parts: Iterable[Tensor], counts: Sequence[int]) -> Tensor:
    """[B, ...] of each part's [...], for as many rows as it has."""
    pairs = zip(parts, counts, strict=True)
    return torch.cat([part.expand(count, *part.shape) for part, count in pairs])


def _products_backward(dq: Tensor, dk: Tensor, dv: Tensor, block: VitBlock) -> Tensor:
    """[B, S, H] the gradient to what queries, keys and values were made of."""
    parts = [(dk, block.key), (dv, block.value)]
    whole = dq.shape[2] == dk.shape[2]
    if whole:
        parts.append((dq, block.query))
    rows, heads, places, size = dk.shape
    grads = dk.new_empty(rows, places, len(parts), heads, size)
    for number, (grad, _) in enumerate(parts):
        grads[:, :, number] = grad.transpose(1, 2)
    weight = torch.cat([product.weight for _, product in parts])
    found = torch.matmul(grads.flatten(2), weight)
    if not whole:
        found[:, : dq.shape[2]] += torch.matmul(_joined(dq), block.query.weight)
    return found


def _norm(norm: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _norm_backward(
    norm: nn.LayerNorm, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor
) -> Tensor:
    made: Tensor
    made, _, _ = torch.ops.aten.native_layer_norm_backward(
        grad, x, norm.normalized_shape, mean, rstd, norm.weight, norm.bias, [True, False, False]
    )
    return made


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """[n, S, H] -> [n, h, S, D]"""
    return tokens.view(*tokens.shape[:2], heads, -1).transpose(1, 2)


def _joined(by_head: Tensor) -> Tensor:
    """[n, h, S, D] -> [n, S, H]"""
    return by_head.transpose(1, 2).flatten(2)


def _attend(q: Tensor, k: Tensor, v: Tensor, keep: bool) -> tuple[Tensor, Any]:
    """[n, h, S, D] softmax(q k^T / sqrt(D)) v, and what its gradient needs."""
    if q.shape[2] * k.shape[2] > _SHORT:
        with torch.set_grad_enabled(keep):
            q, k, v = (tensor.detach().requires_grad_(keep) for tensor in (q, k, v))
            out = functional.scaled_dot_product_attention(q, k, v)
        return out.detach(), (out, (q, k, v))
    shares = torch.matmul(q * q.shape[-1] ** -0.5, k.mT).softmax(-1)
    return torch.matmul(shares, v), shares


def _attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, kept: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Its gradients to q, k and v."""
    if isinstance(kept, tuple):
        out, asked = kept
        with torch.enable_grad():
            dq, dk, dv = torch.autograd.grad(out, asked, grad)
        return dq, dk, dv
    scale = q.shape[-1] ** -0.5
    dv = torch.matmul(kept.mT, grad)
    scores = torch._softmax_backward_data(torch.matmul(grad, v.mT), kept, -1, kept.dtype)
    scores.mul_(scale)
    return torch.matmul(scores, k), torch.matmul(scores.mT, q), dv
