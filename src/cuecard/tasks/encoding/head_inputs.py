"""What heads read of rows: hidden states, and of pooled heads what there is of the inputs.

A pooled head reads the last hidden state, and beside it the mean over the input's tokens of the
values of some layers' attention: what a query that weighs all tokens alike would get of them. They
are computed without the prompt, and the cached inputs of a late prompt hold them already. It may
also count the input's tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuecard.lazy import torch
from cuecard.tasks.encoding.batching import collate, inside_of
from cuecard.types import Backbone, Encoded, Head, Injection

if TYPE_CHECKING:
    from torch import Tensor

# How many layers a pooled head reads, of the middle half of them.
_POOLED = 8


@dataclass(frozen=True, slots=True)
class HeadRows:
    """Rows under a prompt that a head reads.

    Attributes:
        head: None for one that reads hidden states alone.
    """

    rows: Sequence[Encoded]
    injection: Injection | None
    head: Head | None = None

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """What is pooled: the tokens before the prompt's place."""
        pools = self.head is not None and self.head.layers
        return [row.context[: row.slot] for row in self.rows] if pools else []


def pooled_layers(count: int) -> tuple[int, ...]:
    """The layers that a pooled head reads, of so many; counted from 0."""
    first, span = min((count + 3) // 4, count - 1), count // 2
    return tuple(sorted({first + number * span // _POOLED for number in range(_POOLED)}))


def read_for_heads(backbone: Backbone, parts: Sequence[HeadRows]) -> list[Tensor]:
    """Per part what its head reads [N, H], or [N, H + F + V] of a pooled one, in one forward pass.

    There are gradients to the injections, by way of the hidden states.
    """
    inside = inside_of(backbone)
    pairs = [
        (
            collate([(row, ()) for row in part.rows], read="states", inside=inside),
            part.injection,
        )
        for part in parts
    ]
    inputs = [ids for part in parts for ids in part.inputs]
    with backbone.holding(inputs) if inputs else nullcontext():
        found = backbone.read_many(pairs, keep="states")
        return [
            torch.cat([reads.states(), *_of_inputs(backbone, part)], 1)
            for part, reads in zip(parts, found, strict=True)
        ]


def _of_inputs(backbone: Backbone, part: HeadRows) -> Iterator[Tensor]:
    """[N, F] and [N, V] what a pooled head reads beside the states."""
    if part.head is None or not part.head.layers:
        return
    means = backbone.value_means(part.inputs, part.head.layers)
    yield means
    if part.head.tfidf is not None:
        yield part.head.tfidf(part.inputs).to(means.device)
