"""Texts as vectors: what of them is read, and how it becomes one vector.

Mean pooling over a text's own tokens, those that the tokenizer puts around it counted in and a
prompt's places not, then unit length: Reimers and Gurevych (2019, arXiv:1908.10084), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cuecard.lazy import functional, torch
from cuecard.tasks.encoding.batching import collate
from cuecard.tasks.encoding.tokens import closing_count
from cuecard.types import Backbone, Batch, Encoded, Injection, Placement, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor


def texts_of(pair: Encoded) -> tuple[Encoded, Encoded]:
    """A pair's two texts, the prompt at the same place in both."""
    behind = pair.slot == len(pair.context)
    slot = len(pair.target) if behind else pair.slot
    return replace(pair, target=()), Encoded(pair.target, (), Placement.at(slot))


def collate_texts(rows: Sequence[Encoded], tokenizer: Tokenizer) -> Batch:
    """A batch in which every token of the rows is read, what closes them too.

    Of images that is the one state that a vision encoder gives.
    """
    if not any(row.context for row in rows):
        return collate([(row, ()) for row in rows], read="states", inside=0)
    closing = closing_count(tokenizer)
    return collate([(row, ()) for row in rows], read="all", closing=closing)


def pooled(batch: Batch, states: Tensor) -> Tensor:
    """[B, H] vectors of unit length from the states [N, H] of every token."""
    rows = batch.read_rows.to(states.device)
    sums = states.new_zeros(len(batch), states.shape[1]).index_add(0, rows, states)
    counts = torch.bincount(rows, minlength=len(batch))
    return functional.normalize(sums / counts[:, None], dim=1)


def embed_rows(backbone: Backbone, rows: Sequence[Encoded], injection: Injection | None) -> Tensor:
    """[n, H] float32 vectors of unit length, with gradients to the injection."""
    return embed_parts(backbone, [(rows, injection)])[0]


def embed_parts(
    backbone: Backbone, parts: Sequence[tuple[Sequence[Encoded], Injection | None]]
) -> list[Tensor]:
    """The same for rows under several prompts, together where the backbone can."""
    given = [(collate_texts(rows, backbone.tokenizer), injection) for rows, injection in parts]
    reads = backbone.read_many(given)
    return [pooled(batch, read.states()) for (batch, _), read in zip(given, reads, strict=True)]
