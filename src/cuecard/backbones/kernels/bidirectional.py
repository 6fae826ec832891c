"""Prefix keys and values for encoders, registered with transformers as an attention function.

An encoder keeps no cache of keys and values, so a prefix cannot be one. Every layer asks for its
attention through transformers' interface; what is registered there puts the layer's prefix in front
of its keys and values, where every token sees it, padded or windowed as the model may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.masking_utils import sdpa_mask

from cuecard.backbones.kernels.attention import STRANGE
from cuecard.backbones.libraries import import_transformers

AttentionInterface = import_transformers().AttentionInterface
AttentionMaskInterface = import_transformers().AttentionMaskInterface

NAME = "cuecard_prefixed"

_STRANGE = (*STRANGE, "softcap")


class NotPrefixableError(Exception):
    """A model asks of attention what is not known here."""


@dataclass
class Prefixed:
    """One forward pass.

    Attributes:
        prefix: [L, 2, R, K, P, D], R being 1 where all rows have the same; None for none.
        front: [B, P] which of it each row sees; None for all.
        keys_values: every layer's own keys and values [B, K, T, D], where they are kept.
        keep: whether they are.
        watched: the layer whose attention is kept; None for none.
        weights: [B, H, T, P + T] its attention.
        count: how many layers have asked for attention.
    """

    prefix: Tensor | None
    front: Tensor | None = None
    keep: bool = False
    watched: int | None = None
    keys_values: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    weights: Tensor | None = None
    count: int = 0


_PASS: ContextVar[Prefixed | None] = ContextVar("prefixed pass", default=None)


@contextmanager
def prefixed(
    prefix: Tensor | None,
    front: Tensor | None = None,
    *,
    keep: bool = False,
    watched: int | None = None,
) -> Iterator[Prefixed]:
    """Say what stands in front of every layer's keys and values in the calls that follow."""
    token = _PASS.set(running := Prefixed(prefix, front, keep, watched))
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
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: query [B, H, T, D], key and value [B, K, T, D].

    Returns:
        [B, T, H, D] and None: a layer's probabilities are kept where they are watched.

    Raises:
        NotPrefixableError: anything that changes scores in a way not known here.
    """
    running = _PASS.get()
    strange = [name for name in _STRANGE if kwargs.get(name) is not None]
    if running is None or strange or dropout or getattr(module, "is_causal", False):
        raise NotPrefixableError(", ".join(strange) or "attention that looks back alone")
    number = running.count
    running.count += 1
    if running.keep:
        running.keys_values.append((key, value))
    attention_mask = _with_vectors(attention_mask, key.shape[2])
    if running.prefix is not None:
        keys, values = running.prefix[number].to(key.dtype).expand(-1, len(key), -1, -1, -1)
        key, value = torch.cat([keys, key], 2), torch.cat([values, value], 2)
        if running.front is None:
            attention_mask = _seen_by_all(attention_mask, keys.shape[2])
        else:
            attention_mask = _seen_by_some(attention_mask, running.front, query.shape[2])
    if number == running.watched:
        running.weights = _weights(query, key, attention_mask, scaling)
    found = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return found.transpose(1, 2).contiguous(), None


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """[B, H, T, T'] float32 what each query gives each key, as eager attention computes it."""
    keys = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ keys.transpose(2, 3) * scale
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    return scores.float().softmax(-1)


def _with_vectors(mask: Tensor | None, places: int) -> Tensor | None:
    """A mask [B, H, S, S] of fewer places, with those of a prompt's vectors behind its first.

    They see all and all see them, with nothing added to the scores: a bias by relative position
    (BEiT) knows no place of theirs. Of vectors alone there is nothing that it knows.
    """
    if mask is None or mask.shape[-1] == places:
        return mask
    if mask.shape[-1] > places:
        return None
    more = places - mask.shape[-2]
    known = torch.arange(mask.shape[-2], device=mask.device)
    known = known + more * (known > 0)
    whole = mask.new_full((*mask.shape[:-2], places, places), mask.dtype == torch.bool)
    whole[..., known[:, None], known] = mask
    return whole


def _seen_by_all(mask: Tensor | None, count: int) -> Tensor | None:
    """A mask [B, 1, T, T], of booleans or of what is added to scores, with more in front."""
    if mask is None:
        return None
    return functional.pad(mask, (count, 0), value=mask.dtype == torch.bool)


def _seen_by_some(mask: Tensor | None, front: Tensor, places: int) -> Tensor:
    """The same where each row sees its own part [B, P] of what stands in front of T places."""
    rows = len(front)
    if mask is None:
        mask = front.new_ones(rows, 1, places, places)
    ahead = front[:, None, None].expand(-1, mask.shape[1], places, -1)
    if mask.dtype != torch.bool:
        least = torch.finfo(mask.dtype).min
        ahead = mask.new_zeros(ahead.shape).masked_fill(~ahead, least)
    return torch.cat([ahead, mask.expand(rows, -1, places, -1)], -1)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
