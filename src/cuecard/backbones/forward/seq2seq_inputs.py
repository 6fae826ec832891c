"""The inputs of an encoder and a decoder, and where a prompt stands in them. Pure functions.

Rows are padded on the right, so that neither learned nor relative positions know of the padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cuecard.backbones.kernels.positions import SplitPlacement, lay_out, vectors_at
from cuecard.types import PromptMix


@dataclass(frozen=True, slots=True)
class TowerInput:
    """One of the two inputs, of B rows and W places.

    Attributes:
        ids: [B, W] int64; what stands at a prompt's places only fills them.
        mask: [B, W] int64, 1 where something real stands.
        is_prompt: [B, W] bool.
        prompt_index: [B, W] which prompt vector stands there.
        token_index: [B, W] which of the row's tokens stands there, the prompt not counted.
    """

    ids: Tensor
    mask: Tensor
    is_prompt: Tensor
    prompt_index: Tensor
    token_index: Tensor

    def take(self, rows: Tensor) -> TowerInput:
        """Only these rows."""
        return TowerInput(*(getattr(self, name)[rows] for name in self.__slots__))

    def distinct(self) -> tuple[Tensor, Tensor]:
        """The first of each group of equal rows, and each row's group."""
        keys = torch.cat([self.ids, self.mask, self.is_prompt.long()], 1)
        groups = torch.unique(keys, dim=0, return_inverse=True)[1]
        count, place = int(groups.max()) + 1, torch.arange(len(keys), device=keys.device)
        first = place.new_full((count,), len(keys)).scatter_reduce(0, groups, place, "amin")
        return first, groups

    def widened(self, width: int, padding: int) -> TowerInput:
        """The same with more padding on the right, W being `width` then."""
        more = width - self.ids.shape[1]
        if not more:
            return self
        others = [getattr(self, name) for name in self.__slots__[1:]]
        return TowerInput(
            nn.functional.pad(self.ids, (0, more), value=padding),
            *(nn.functional.pad(each, (0, more)) for each in others),
        )


def encoder_input(
    ids: Tensor,
    context: Tensor,
    slot: Tensor,
    ends: Sequence[int],
    length: int,
    fill: Fill,
    split: SplitPlacement | None = None,
) -> TowerInput:
    """The context with the tokenizer's own end after it and `length` prompt places at the slot.

    Args:
        ids: [B, T] rows without padding in front.
        context: [B] how many of a row's tokens are its context.
        slot: [B] how many of them come before the prompt.
        split: where its places are if they are several.
    """
    width = int(context.max())
    closing = torch.tensor(list(ends), dtype=torch.long, device=ids.device)
    whole = torch.cat([ids[:, :width], ids.new_zeros(len(ids), len(closing))], 1)
    at = context[:, None] + torch.arange(len(closing), device=ids.device)
    whole = whole.scatter(1, at, closing.expand(len(ids), -1))
    places = lay_out(context + len(closing), slot, length, "right", split)
    tokens = whole.gather(1, places.token_index)
    tokens = tokens.masked_fill(places.is_prompt, fill.prompt)
    tokens = tokens.masked_fill(places.mask == 0, fill.padding)
    return TowerInput(
        tokens, places.mask, places.is_prompt, places.prompt_index, places.token_index
    )


def decoder_input(
    ids: Tensor, lengths: Tensor, context: Tensor, opening: Sequence[int], length: int, fill: Fill
) -> TowerInput:
    """`length` prompt places, the decoder's opening, and each row's tokens after its context.

    Args:
        ids: [B, T] rows without padding in front.
        lengths: [B] tokens per row.
        context: [B] how many of them are the context.
    """
    rows, left = len(ids), lengths - context
    width = int(left.max())
    begin = torch.tensor([fill.prompt] * length + list(opening), device=ids.device)
    place = torch.arange(width, device=ids.device)
    real = place < left[:, None]
    after = ids.gather(1, (context[:, None] + place).clamp(max=ids.shape[1] - 1))
    tokens = torch.cat([begin.expand(rows, -1), after.masked_fill(~real, fill.padding)], 1)
    mask = torch.cat([real.new_ones(rows, len(begin)), real], 1).long()
    column = torch.arange(tokens.shape[1], device=ids.device).expand_as(tokens)
    index = column.clamp(max=max(length - 1, 0))
    return TowerInput(tokens, mask, column < length, index, (column - length).clamp(min=0))


@dataclass(frozen=True, slots=True)
class Fill:
    """Token ids that stand where no token does.

    Attributes:
        padding: the model's padding token, by which some models count positions.
        prompt: any other token; its embedding is replaced.
    """

    padding: int
    prompt: int


@dataclass(frozen=True, slots=True)
class PromptedInput:
    """Rows, and what goes among their embeddings.

    Attributes:
        vectors: [P, H].
        shifts: [S, H] added to each row's first S tokens; S may be 0.
        mix: what each row adds to the vectors; None for nothing.
    """

    half: TowerInput
    vectors: Tensor
    shifts: Tensor
    mix: PromptMix | None = None

    def placed(self, output: Tensor) -> Tensor:
        """The embeddings [B, W, H] of the rows with the prompt in place."""
        half, shifts = self.half, self.shifts
        tokens = (half.mask == 1) & ~half.is_prompt
        each = None
        if self.mix is not None:
            each = self.mix.over(self.vectors, output, tokens).to(output.dtype)
        if len(shifts):
            shifted = (half.token_index < len(shifts)) & tokens
            chosen = nn.functional.embedding(half.token_index.clamp(max=len(shifts) - 1), shifts)
            output = torch.where(shifted[..., None], output + chosen, output)
        if len(self.vectors):
            chosen = vectors_at(half.prompt_index, self.vectors, each)
            output = torch.where(half.is_prompt[..., None], chosen, output)
        return output


@contextmanager
def prompts_in(embed: nn.Module, parts: Sequence[PromptedInput]) -> Iterator[None]:
    """While open, the embedding layer gives the prompts' vectors at their places.

    Rows under several prompts are inputs of one width, one after the other. The layer is hooked and
    the model called with ids, since models scale embeddings before or after that layer, and some
    do not where they are handed embeddings.
    """
    handle = embed.register_forward_hook(partial(_place_all, parts))
    try:
        yield
    finally:
        handle.remove()


def _place_all(
    parts: Sequence[PromptedInput],
    module: nn.Module,
    inputs: tuple[Any, ...],
    output: Tensor,
) -> Tensor:
    rows = torch.split(output, [len(part.half.ids) for part in parts])
    placed = [part.placed(found) for part, found in zip(parts, rows, strict=True)]
    return placed[0] if len(placed) == 1 else torch.cat(placed)
