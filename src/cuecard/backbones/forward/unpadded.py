"""A batch without padding, and its embeddings with the prompt inserted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cuecard.backbones.forward.injected import Injected
from cuecard.backbones.kernels.input_cache import InputCache
from cuecard.backbones.kernels.layer_tokens import PlacedLayerTokens
from cuecard.backbones.kernels.packing import Kept
from cuecard.backbones.kernels.positions import (
    APART,
    NOTHING_SHARED,
    RowLayout,
    Sharing,
    Side,
    SplitPlacement,
    lay_out,
    plan_sharing,
    vectors_at,
)
from cuecard.backbones.kernels.trees import LaidTree, Tree


@dataclass(frozen=True, slots=True)
class UnpaddedRows:
    """A batch without its padding: ids [B, T], lengths [B], slot [B], the N reads, and a prompt.

    `split` says where it stands if that is in several places, `tree` where tokens stand in rows
    that end in a tree, `context` [B] how many tokens of each row are its context.
    """

    ids: Tensor
    lengths: Tensor
    slot: Tensor
    read_rows: Tensor
    read_at: Tensor
    given: Injected
    split: SplitPlacement | None = None
    tree: Tree | None = None
    context: Tensor | None = None

    @property
    def longest(self) -> int:
        """The most positions of a row, all that stands in front of it counted in."""
        own = self.lengths.max() if self.tree is None else self.tree.place.max() + 1
        return int(own) + self.length + self.given.ahead

    def embed(self, embed: nn.Module, ids: Tensor, places: Tensor) -> Tensor:
        """[..., H] embeddings of tokens that stand at `places` of their rows."""
        found = torch.as_tensor(embed(ids))
        if self.given.shifts is None:
            return found
        shifts = torch.cat([self.given.shifts, self.given.shifts.new_zeros(1, found.shape[-1])])
        return found + nn.functional.embedding(places.clamp(max=len(shifts) - 1), shifts)

    @property
    def length(self) -> int:
        """P, the vectors among the embeddings."""
        return len(self.given.vectors)

    def plan(self, worth: int = APART) -> Sharing:
        """What runs once."""
        if self.given.late:  # what comes before the slots sees no prefix, what comes after does
            return NOTHING_SHARED
        # What differs from row to row is not shared, as if it stood in several places.
        split = self.split is not None or self.given.each is not None
        return plan_sharing(
            self.ids, self.lengths, self.slot, self.read_at, self.length, worth, split=split
        )

    def reads(self, plan: Sharing) -> Tensor:
        """[N] which of a row's own positions gives each read's logits."""
        at = self.read_at - plan.tokens - 1
        if plan.prompt:
            return at
        if self.split is not None:
            return at + self.split.before(self.read_at, self.read_rows)
        return at + self.length * (self.read_at >= self.slot[self.read_rows])

    def inputs(self) -> list[tuple[int, ...]]:
        """The token ids before each row's slot."""
        pairs = zip(self.ids.tolist(), self.slot.tolist(), strict=True)
        return [tuple(ids[:slot]) for ids, slot in pairs]

    def kept_in(self, cache: InputCache) -> Kept | None:
        """What stands before the slots, if all of it is kept and nothing is read in it."""
        given = self.given
        if not given.leaves_front:  # not what was computed without it
            return None
        # Vectors make the first read's state, keys and values leave it to the token before them.
        if bool((self.read_at < self.slot[self.read_rows] + given.late).any()):
            return None
        inputs = self.inputs()
        return _kept(cache, inputs, self.slot) if all(ids in cache for ids in inputs) else None

    def begun_in(self, cache: InputCache) -> Kept | None:
        """What rows without a prompt begin with, if all of it is kept and nothing read in it."""
        if not self.given.is_nothing:
            return None
        rows = zip(self.ids.tolist(), self.lengths.tolist(), strict=True)
        found = [cache.beginning(tuple(ids[:length])) for ids, length in rows]
        inputs = [ids for ids in found if ids is not None]
        first = self.lengths.new_tensor([*map(len, inputs)])
        if len(inputs) < len(found) or bool((self.read_at <= first[self.read_rows]).any()):
            return None
        return _kept(cache, inputs, first)

    def after(self, kept: Kept) -> UnpaddedRows:
        """What is not kept, where the kept tokens end before the prompt or the prompt is kept."""
        given, first = self.given, kept.tokens
        if first is None:
            return self
        slot = (self.slot - first).clamp(min=0)
        if kept.prompt:
            given = replace(given, vectors=given.vectors[:0], layers=None)
        if given.shifts is not None:  # rows that are shifted have one front and nothing else
            given = replace(given, shifts=given.shifts[int(first[0]) :])
        if not given.late:
            given = replace(given, prefix=None)  # it is kept with the front
        elif not bool(slot.any()):
            given = replace(given, late=False)  # all that is left sees it
        width = max(1, int((self.lengths - first).max()))
        place = first[:, None] + torch.arange(width, device=self.ids.device)
        index = place.clamp(max=self.ids.shape[1] - 1)
        return UnpaddedRows(
            self.ids.gather(1, index),
            self.lengths - first,
            slot,
            self.read_rows,
            self.read_at - first[self.read_rows],
            given,
            None if self.split is None else self.split.behind(first),
            None if self.tree is None else self.tree.from_slot(first, index),
        )


def _kept(cache: InputCache, inputs: Sequence[tuple[int, ...]], tokens: Tensor) -> Kept:
    own = cache.own(inputs)
    # Without any, what the rows go on with may be shared once more.
    own = own if any(row.shape[3] for row in own) else []
    return Kept(cache.front, own, tokens)


def embed_shared(
    embed: nn.Module, rows: UnpaddedRows, plan: Sharing
) -> tuple[Tensor, PlacedLayerTokens | None]:
    """Embeddings [1, S, H] of what is the same for every row, and the layers' vectors in it."""
    ids = rows.ids[:1, : plan.tokens]
    tokens = rows.embed(embed, ids, torch.arange(plan.tokens, device=ids.device)[None])
    if not plan.prompt:
        return tokens, None
    at = int(rows.slot[0])
    tokens = torch.cat([tokens[:, :at], rows.given.vectors[None], tokens[:, at:]], 1)
    index = torch.arange(rows.length, device=ids.device)
    layers = rows.given.layers
    return tokens, None if layers is None else PlacedLayerTokens(layers, at + index, index)


def embed_rows(
    embed: nn.Module, rows: UnpaddedRows, plan: Sharing, side: Side
) -> tuple[Tensor, Tensor, PlacedLayerTokens | None]:
    """Embeddings [B, W, H] of what is not shared, their mask [B, W], the layers' vectors in them.

    Padding goes to `side`.
    """
    vectors, ids = _vectors(rows, plan), rows.ids[:, plan.tokens :]
    places = _places(rows, plan, side)
    if not ids.shape[1]:  # rows of the prompt alone
        ids = ids.new_zeros(len(ids), 1)
    index = places.token_index
    at = index + plan.tokens
    if rows.tree is not None:
        at = rows.tree.place.gather(1, at)
    embeds = rows.embed(embed, ids.gather(1, index), at)
    if not len(vectors):
        return embeds, places.mask, None
    chosen = vectors_at(places.prompt_index, vectors, rows.given.each)
    embeds = torch.where(places.is_prompt[..., None], chosen, embeds)
    layers = rows.given.layers
    if layers is None:
        return embeds, places.mask, None
    at = places.is_prompt.flatten().nonzero().flatten()
    return embeds, places.mask, PlacedLayerTokens(layers, at, places.prompt_index.flatten()[at])


def laid_tree(rows: UnpaddedRows, plan: Sharing) -> LaidTree | None:
    """Where the tokens of rows that end in a tree stand in what is not shared."""
    if rows.tree is None:
        return None
    return rows.tree.laid_out(_places(rows, plan, "right"), plan.tokens)


def _vectors(rows: UnpaddedRows, plan: Sharing) -> Tensor:
    """The prompt's vectors that stand in what is not shared."""
    return rows.given.vectors[:0] if plan.prompt else rows.given.vectors


def _places(rows: UnpaddedRows, plan: Sharing, side: Side) -> RowLayout:
    """Where what is not shared stands."""
    split = None if rows.split is None else rows.split.behind(plan.tokens)
    slot = (rows.slot - plan.tokens).clamp(min=0)
    return lay_out(rows.lengths - plan.tokens, slot, len(_vectors(rows, plan)), side, split)
