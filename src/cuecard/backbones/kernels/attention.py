"""Attention over a packed sequence, registered with transformers as an attention function.

Scores against the shared part are one product over all rows, with keys and values as they are:
neither rows nor key heads are copied. Only [W, W] scores of a row with itself go row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cuecard.backbones.kernels.decoding import Decoding
from cuecard.backbones.kernels.packing import Packing
from cuecard.backbones.kernels.ragged_rows import RaggedRows
from cuecard.backbones.libraries import import_transformers

AttentionInterface = import_transformers().AttentionInterface

NAME = "cuecard_packed"

STRANGE = ("s_aux", "position_bias", "alibi")
"""Arguments of a model's own attention that change scores in a way not known here."""

# Probabilities larger than this are computed again in the backward pass instead of kept.
_KEEP_BYTES = 4 * 2**20


class UnpackableError(Exception):
    """A model asks of attention what a packed sequence does not give it."""


PackedPart = Packing | Decoding | RaggedRows


class Pass:
    """One forward pass over packed sequences, and how many layers asked for attention in it."""

    def __init__(
        self,
        packings: Sequence[PackedPart],
        seen: list[tuple[Tensor, Tensor]] | None,
        first: int,
    ) -> None:
        self.packings, self.count, self.seen = packings, first, seen
        self.sizes = [packing.tokens for packing in packings] if len(packings) > 1 else []


_PASS: ContextVar[Pass | None] = ContextVar("packed pass", default=None)


@contextmanager
def packed(
    *packings: PackedPart, seen: list[tuple[Tensor, Tensor]] | None = None, first: int = 0
) -> Iterator[Pass]:
    """Say what the sequence that the model is about to run is made of.

    Args:
        packings: of the parts that stand one after the other and do not see each other.
        seen: gets every layer's keys and values [1, K, N, D].
        first: the layer that will be the first to ask for attention.
    """
    token = _PASS.set(running := Pass(packings, seen, first))
    try:
        yield running
    finally:
        _PASS.reset(token)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: query [1, H, N, D], key and value [1, K, N, D].

    Returns:
        [1, N, H, D] and None, since probabilities are not kept.

    Raises:
        UnpackableError: anything that changes scores in a way not known here.
    """
    running = _PASS.get()
    strange = [name for name in STRANGE if kwargs.get(name) is not None]
    if running is None or strange or attention_mask is not None or dropout or len(query) != 1:
        raise UnpackableError(", ".join(strange) or "no packed sequence")
    number = running.count
    running.count += 1
    if running.seen is not None:
        running.seen.append((key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling

    def part(packing: PackedPart, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if isinstance(packing, Decoding | RaggedRows):
            return packing.attend(
                number, (query, key, value), scale, sliding_window or 0, softcap or 0.0
            )
        before = None if packing.past is None else packing.past.layers[number]
        front = None if packing.front is None else packing.front[number].to(key.dtype)
        key, value = _behind_prefix(packing, number, key, value)
        layer = _Layer(packing, front, before, scale, sliding_window or 0, softcap or 0.0)
        found: Tensor = _Packed.apply(query, key, value, layer)  # type: ignore[no-untyped-call]
        return found

    if not running.sizes:
        return part(running.packings[0], query, key, value), None
    cut = [torch.split(tensor, running.sizes, 2) for tensor in (query, key, value)]
    return torch.cat([part(*of) for of in zip(running.packings, *cut, strict=True)], 1), None


AttentionInterface.register(NAME, attend)


def _behind_prefix(
    packing: Packing, number: int, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Keys and values [1, K, P + N, D] with the prefix of a layer in front, if there is one."""
    if packing.prefix is None:
        return key, value
    prefix = packing.prefix[number].to(key.dtype)
    return torch.cat([prefix[None, 0], key], 2), torch.cat([prefix[None, 1], value], 2)


@dataclass(frozen=True, slots=True)
class _Layer:
    """What a layer attends over, and how.

    Attributes:
        packing: where everything stands.
        front: keys and values [2, K, F, D] in front of everything that are not trained through.
        before: keys and values of the rows' past [K * B, T + W, D], if they have one.
        scale: of the scores.
        window: positions a token sees, itself counted in; 0 is all.
        cap: of the scores, softly; 0 is none.
    """

    packing: Packing
    front: Tensor | None
    before: tuple[Tensor, Tensor] | None
    scale: float
    window: int
    cap: float


class _Packed(torch.autograd.Function):
    """softmax(scale * q k^T + mask) v, written out with its gradient."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layer: _Layer) -> Tensor:
        parts = _Parts(query, key, value, layer)
        probabilities = parts.probabilities()
        out = parts.outputs(*probabilities)
        size = sum(p.numel() * p.element_size() for p in probabilities)
        # By autograd, so that it may as well drop them and have them computed again.
        ctx.parts, held = parts, parts.release()
        ctx.save_for_backward(*held, *(probabilities if size <= _KEEP_BYTES else ()))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        parts: _Parts = ctx.parts
        saved = ctx.saved_tensors  # asked for once: that runs a layer again
        parts.hold(saved[: len(_HELD)])
        found = parts.gradients(grads[0], *(saved[len(_HELD) :] or parts.probabilities()))
        parts.release()
        return (*found, None)


_HELD = ("first_q", "q", "shared_k", "own_k", "shared_v", "own_v")


class _Parts:
    """Queries, keys and values in the order in which they are multiplied.

    Sizes: H query heads, K key heads, G = H / K, D per head; S, B, W as in `Packing`; F keys that
    all rows see, of which the last A = P + S, prefix and shared part, get gradients and those of
    the front none; U = T + W keys of a row, its past counted in. Of the shared part: first_q
    [K, G * S, D], shared_k and shared_v [K, A, D], and first_k and first_v [K, F, D], which begin
    with the front; of the rows: q [K, B * G * W, D], own_k and own_v [K * B, W, D], and k and
    v [K * B, U, D], which begin with the past.
    """

    first_q: Tensor
    q: Tensor
    shared_k: Tensor
    own_k: Tensor
    shared_v: Tensor
    own_v: Tensor

    def __init__(self, query: Tensor, key: Tensor, value: Tensor, layer: _Layer) -> None:
        packing, window = layer.packing, layer.window
        self._front, self._before = layer.front, layer.before
        self._packing, self._scale, self._cap = packing, layer.scale, layer.cap
        self._f = packing.ahead + packing.shared
        self._a = packing.prefixed + packing.shared
        earlier = self._f + (0 if packing.past is None else packing.past.width)
        self._window = window if 0 < window < earlier + packing.width else 0
        self._h, self._k = query.shape[1], key.shape[1]
        self._g, self._s = self._h // self._k, packing.shared
        self._heads = packing.heads(self._h, self._k)
        first, own = self._split(query, self._h, self._s)
        first_q = self._by_key_head(first, self._g, self._s)
        q = own.index_select(0, self._heads.queries).view(self._k, -1, own.shape[-1])
        first, own = self._split(key, self._k, self._a)
        shared_k, own_k = self._by_key_head(first, 1, self._a), self._gather_keys(own)
        first, own = self._split(value, self._k, self._a)
        shared_v, own_v = self._by_key_head(first, 1, self._a), self._gather_keys(own)
        self.hold((first_q, q, shared_k, own_k, shared_v, own_v))

    def hold(self, tensors: Sequence[Tensor]) -> None:
        """Take the tensors that `release` gave."""
        for name, tensor in zip(_HELD, tensors, strict=True):
            setattr(self, name, tensor)
        self.first_k, self.first_v = self.shared_k, self.shared_v
        if self._front is not None:
            self.first_k = _after(self._front[0], self.shared_k)
            self.first_v = _after(self._front[1], self.shared_v)
        self.k, self.v = self.own_k, self.own_v
        if self._before is not None:
            self.k = _behind(self._before[0], self.own_k)
            self.v = _behind(self._before[1], self.own_v)

    def release(self) -> list[Tensor]:
        """Let go of the tensors: those in the order of `_HELD`."""
        held = [getattr(self, name) for name in _HELD]
        for name in (*_HELD, "first_k", "first_v", "k", "v"):
            delattr(self, name)
        return held

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Of the shared part [K, G * S, F], and of the rows [K, B * G * W, F + U]."""
        first, rows = self._scores()
        causal = self._packing.causal(self._window, rows.dtype)
        first.view(self._h, self._s, self._f).add_(causal.first)
        by_place = rows.view(self._k, self._packing.rows, self._g, self._packing.width, -1)
        all_see = not self._window and self._packing.unaware is None
        seen_by_all = self._f if all_see else 0
        by_place[..., seen_by_all:].add_(causal.rows[..., seen_by_all:])
        return _softmax(first), _softmax(rows)

    def outputs(self, first: Tensor, rows: Tensor) -> Tensor:
        """[1, N, H, D] from the probabilities."""
        shared, own = self._cut(rows)
        out = torch.bmm(shared, self.first_v)
        out.view(*own.shape[:2], -1).baddbmm_(own, self.v)
        shared_out = torch.bmm(first, self.first_v)
        return self._joined(shared_out, out, self._h, self._s, self._heads.queries_back)

    def gradients(self, grad: Tensor, first: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of query, key and value, for the output's gradient [1, N, H, D]."""
        grad = grad.transpose(1, 2)
        first_grad, own_grad = self._split(grad, self._h, self._s)
        first_grad = self._by_key_head(first_grad, self._g, self._s)
        own_grad = own_grad.index_select(0, self._heads.queries)
        # Places that hold nothing were filled with some token's query: it has no say here.
        own_grad = own_grad.index_fill_(0, self._heads.padding, 0).view(self._k, -1, grad.shape[-1])
        shared, own = self._cut(rows)
        by_row = own_grad.view(*own.shape[:2], -1)
        asked = slice(self._f - self._a, None)  # a front gets no gradient
        shared_v = torch.bmm(first[..., asked].mT, first_grad)
        shared_v.baddbmm_(shared[..., asked].mT, own_grad)
        width = self._packing.width  # a past gets no gradient
        v = torch.bmm(own[..., -width:].mT, by_row)
        d_first = torch.bmm(first_grad, self.first_v.mT)
        d_rows = self._beside(torch.bmm(own_grad, self.first_v.mT), torch.bmm(by_row, self.v.mT))
        d_first, d_rows = self._through_softmax((d_first, d_rows), (first, rows))
        d_shared, d_own = self._cut(d_rows)
        q_by_row = self.q.view(*own.shape[:2], -1)
        first_q = torch.bmm(d_first, self.first_k)
        q = torch.bmm(d_shared, self.first_k)
        q.view(*own.shape[:2], -1).baddbmm_(d_own, self.k)
        shared_k = torch.bmm(d_first[..., asked].mT, self.first_q)
        shared_k.baddbmm_(d_shared[..., asked].mT, self.q)
        k = torch.bmm(d_own[..., -width:].mT, q_by_row)
        back = self._heads
        return (
            self._joined(first_q, q, self._h, self._s, back.queries_back).transpose(1, 2),
            self._joined(shared_k, k, self._k, self._a, back.keys_back).transpose(1, 2),
            self._joined(shared_v, v, self._k, self._a, back.keys_back).transpose(1, 2),
        )

    def _scores(self) -> tuple[Tensor, Tensor]:
        """Scaled and capped, not yet masked."""
        first = torch.bmm(self.first_q, self.first_k.mT)
        by_row = self.q.view(self.k.shape[0], -1, self.q.shape[-1])
        rows = self._beside(torch.bmm(self.q, self.first_k.mT), torch.bmm(by_row, self.k.mT))
        for scores in (first, rows):
            scores.mul_(self._scale)
            if self._cap:
                scores.div_(self._cap).tanh_().mul_(self._cap)
        return first, rows

    def _through_softmax(
        self, grads: tuple[Tensor, Tensor], probabilities: tuple[Tensor, Tensor]
    ) -> list[Tensor]:
        found = [
            torch._softmax_backward_data(grad, p, -1, p.dtype).mul_(self._scale)
            for grad, p in zip(grads, probabilities, strict=True)
        ]
        if self._cap:
            for grad, capped in zip(found, self._scores(), strict=True):
                grad.mul_(1 - (capped / self._cap) ** 2)
        return found

    def _split(self, tensor: Tensor, heads: int, shared: int) -> tuple[Tensor, Tensor]:
        """[1, heads, N, D] as rows of D, by token and head: the shared ones', the rows' own."""
        flat = tensor[0].transpose(0, 1).reshape(-1, tensor.shape[-1])
        return flat[: shared * heads], flat[shared * heads :]

    def _by_key_head(self, flat: Tensor, group: int, shared: int) -> Tensor:
        """[shared * K * group, D] -> [K, group * shared, D]"""
        size = flat.shape[-1]
        by_head = flat.view(shared, self._k, group, size).permute(1, 2, 0, 3)
        return by_head.reshape(self._k, group * shared, size)

    def _gather_keys(self, own: Tensor) -> Tensor:
        """[R * K, D] -> [K * B, W, D]"""
        gathered = own.index_select(0, self._heads.keys)
        return gathered.view(-1, self._packing.width, own.shape[-1])

    def _beside(self, shared: Tensor, own: Tensor) -> Tensor:
        """[K, B * G * W, F] and [K * B, G * W, U] -> [K, B * G * W, F + U]"""
        return torch.cat([shared, own.view(*shared.shape[:2], -1)], -1)

    def _cut(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse. Copies: the products that follow are slow on strided rows."""
        own = rows[..., self._f :].reshape(self.k.shape[0], -1, self.k.shape[1])
        return rows[..., : self._f].contiguous(), own

    def _joined(self, first: Tensor, own: Tensor, heads: int, shared: int, back: Tensor) -> Tensor:
        """[K, G * shared, D] and the rows' places -> [1, N, heads, D]"""
        size = first.shape[-1]
        by_place = first.view(self._k, heads // self._k, shared, size).permute(2, 0, 1, 3)
        own = own.reshape(-1, size).index_select(0, back)
        return torch.cat([by_place.reshape(-1, size), own]).view(1, -1, heads, size)


def _behind(past: Tensor, own: Tensor) -> Tensor:
    """[K * B, T + W, D]: own keys or values [K * B, W, D] in the room after the past ones."""
    past[:, -own.shape[1] :] = own
    return past


def _after(front: Tensor, shared: Tensor) -> Tensor:
    """[K, F, D]: shared keys or values [K, A, D] after those of the front."""
    return torch.cat([front, shared], 1) if shared.shape[1] else front


def _softmax(scores: Tensor) -> Tensor:
    # In float32 as transformers does; on a CPU that is also twice as fast as softmax in bfloat16.
    wide = torch.promote_types(scores.dtype, torch.float32)
    return scores.softmax(-1, dtype=wide).to(scores.dtype)
