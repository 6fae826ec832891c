"""A batch without its padding, and its embeddings with the prompt in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cuecard.backbones.deep import Deep
from cuecard.backbones.injected import Injected
from cuecard.backbones.input_cache import InputCache
from cuecard.backbones.layout import APART, Apart, Sharing, Side, lay_out, plan_sharing


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch without its padding: ids [B, T], lengths [B], slot [B], the N reads, and a prompt.

    `apart` says where it stands if that is in several places.
    """

    ids: Tensor
    lengths: Tensor
    slot: Tensor
    read_rows: Tensor
    read_at: Tensor
    given: Injected
    apart: Apart | None = None

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
        apart = self.apart is not None
        return plan_sharing(
            self.ids, self.lengths, self.slot, self.read_at, self.length, worth, apart=apart
        )

    def reads(self, plan: Sharing) -> Tensor:
        """[N] which of a row's own positions gives each read's logits."""
        at = self.read_at - plan.tokens - 1
        if plan.prompt:
            return at
        if self.apart is not None:
            return at + self.apart.before(self.read_at, self.read_rows)
        return at + self.length * (self.read_at >= self.slot[self.read_rows])

    def inputs(self) -> list[tuple[int, ...]]:
        """The token ids before each row's slot."""
        pairs = zip(self.ids.tolist(), self.slot.tolist(), strict=True)
        return [tuple(ids[:slot]) for ids, slot in pairs]

    def kept_in(self, cache: InputCache) -> list[tuple[int, ...]] | None:
        """What stands before the slots, if all of it is kept and nothing is read in it."""
        given = self.given
        if given.shifts is not None or not len(given.vectors):  # not what was computed without them
            return None
        if bool((self.read_at < self.slot[self.read_rows]).any()):
            return None
        inputs = self.inputs()
        return inputs if all(ids in cache for ids in inputs) else None

    def from_slot(self) -> Rows:
        """What begins at the slot."""
        width = max(1, int((self.lengths - self.slot).max()))
        place = self.slot[:, None] + torch.arange(width, device=self.ids.device)
        return Rows(
            self.ids.gather(1, place.clamp(max=self.ids.shape[1] - 1)),
            self.lengths - self.slot,
            torch.zeros_like(self.slot),
            self.read_rows,
            self.read_at - self.slot[self.read_rows],
            self.given,
            None if self.apart is None else self.apart.behind(self.slot),
        )


def embed_shared(embed: nn.Module, rows: Rows, plan: Sharing) -> tuple[Tensor, Deep | None]:
    """Embeddings [1, S, H] of what is the same for every row, and the layers' vectors in it."""
    ids = rows.ids[:1, : plan.tokens]
    tokens = rows.embed(embed, ids, torch.arange(plan.tokens, device=ids.device)[None])
    if not plan.prompt:
        return tokens, None
    at = int(rows.slot[0])
    tokens = torch.cat([tokens[:, :at], rows.given.vectors[None], tokens[:, at:]], 1)
    index = torch.arange(rows.length, device=ids.device)
    layers = rows.given.layers
    return tokens, None if layers is None else Deep(layers, at + index, index)


def embed_rows(
    embed: nn.Module, rows: Rows, plan: Sharing, side: Side
) -> tuple[Tensor, Tensor, Deep | None]:
    """Embeddings [B, W, H] of what is not shared, their mask [B, W], the layers' vectors in them.

    Padding goes to `side`.
    """
    vectors = rows.given.vectors[:0] if plan.prompt else rows.given.vectors
    ids, lengths = rows.ids[:, plan.tokens :], rows.lengths - plan.tokens
    apart = None if rows.apart is None else rows.apart.behind(plan.tokens)
    places = lay_out(lengths, (rows.slot - plan.tokens).clamp(min=0), len(vectors), side, apart)
    if not ids.shape[1]:  # rows of the prompt alone
        ids = ids.new_zeros(len(ids), 1)
    index = places.token_index
    embeds = rows.embed(embed, ids.gather(1, index), index + plan.tokens)
    if not len(vectors):
        return embeds, places.mask, None
    chosen = nn.functional.embedding(places.prompt_index, vectors)
    embeds = torch.where(places.is_prompt[..., None], chosen, embeds)
    layers = rows.given.layers
    if layers is None:
        return embeds, places.mask, None
    at = places.is_prompt.flatten().nonzero().flatten()
    return embeds, places.mask, Deep(layers, at, places.prompt_index.flatten()[at])
