"""Attention that keeps what it is asked with, registered with transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import eager_mask

from cuecard.backbones.kernels.attention import STRANGE
from cuecard.backbones.libraries import import_transformers
from cuecard.types import LayerAttention

AttentionInterface = import_transformers().AttentionInterface
AttentionMaskInterface = import_transformers().AttentionMaskInterface

NAME = "cuecard_queries"

_AT_ONCE = 512  # queries whose scores are held


class UnwatchableError(Exception):
    """A model asks of attention what is not known here."""


_SEEN: ContextVar[list[LayerAttention] | None] = ContextVar("watched layers", default=None)


@contextmanager
def watching_queries() -> Iterator[list[LayerAttention]]:
    """Get what every layer's attention is asked with, in the calls that follow."""
    seen: list[LayerAttention] = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: query [1, H, W, D], key and value [1, K, C + W, D].

    Raises:
        UnwatchableError: anything that changes scores in a way not known here.
    """
    seen = _SEEN.get()
    strange = [name for name in STRANGE if kwargs.get(name) is not None]
    if seen is None or strange or dropout or attention_mask is None or len(query) != 1:
        raise UnwatchableError(", ".join(strange) or "no plain causal attention")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = LayerAttention(query[0], key[0], value[0], scale, softcap or 0.0)
    seen.append(layer)
    groups = query.shape[1] // key.shape[1]
    keys, values = (each[0].repeat_interleave(groups, 0) for each in (key, value))
    found = []
    for start in range(0, query.shape[2], _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        scores = layer.scores(query[0, :, part], keys) + attention_mask[0, :, part]
        found.append(scores.float().softmax(-1).to(values.dtype) @ values)
    return torch.cat(found, 1).transpose(0, 1)[None].contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, eager_mask)
