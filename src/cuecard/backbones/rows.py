"""A batch without its padding, and its embeddings with the prompt in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cuecard.backbones.input_cache import InputCache
from cuecard.backbones.layout import APART, Sharing, Side, lay_out, plan_sharing


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch without its padding: ids [B, T], lengths [B], slot [B], and the N reads."""

    ids: Tensor
    lengths: Tensor
    slot: Tensor
    read_rows: Tensor
    read_at: Tensor

    def plan(self, prompt_length: int, worth: int = APART) -> Sharing:
        """What runs once."""
        return plan_sharing(self.ids, self.lengths, self.slot, self.read_at, prompt_length, worth)

    def reads(self, plan: Sharing, prompt_length: int) -> Tensor:
        """[N] which of a row's own positions gives each read's logits."""
        at = self.read_at - plan.tokens - 1
        if plan.prompt:
            return at
        return at + prompt_length * (self.read_at >= self.slot[self.read_rows])

    def inputs(self) -> list[tuple[int, ...]]:
        """The token ids before each row's slot."""
        pairs = zip(self.ids.tolist(), self.slot.tolist(), strict=True)
        return [tuple(ids[:slot]) for ids, slot in pairs]

    def kept_in(self, cache: InputCache) -> list[tuple[int, ...]] | None:
        """What stands before the slots, if all of it is kept and nothing is read in it."""
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
        )


def embed_shared(embed: nn.Module, rows: Rows, vectors: Tensor, plan: Sharing) -> Tensor:
    """Embeddings [1, S, H] of what is the same for every row."""
    tokens = torch.as_tensor(embed(rows.ids[:1, : plan.tokens]))
    if plan.prompt:
        at = int(rows.slot[0])
        tokens = torch.cat([tokens[:, :at], vectors[None], tokens[:, at:]], 1)
    return tokens


def embed_rows(
    embed: nn.Module, rows: Rows, vectors: Tensor, plan: Sharing, side: Side
) -> tuple[Tensor, Tensor]:
    """Embeddings [B, W, H] of what is not shared, and their mask [B, W]; padding goes to `side`."""
    vectors = vectors[:0] if plan.prompt else vectors
    ids, lengths = rows.ids[:, plan.tokens :], rows.lengths - plan.tokens
    places = lay_out(lengths, (rows.slot - plan.tokens).clamp(min=0), len(vectors), side)
    if not ids.shape[1]:  # rows of the prompt alone
        ids = ids.new_zeros(len(ids), 1)
    embeds = torch.as_tensor(embed(ids.gather(1, places.token_index)))
    if len(vectors):
        chosen = nn.functional.embedding(places.prompt_index, vectors)
        embeds = torch.where(places.is_prompt[..., None], chosen, embeds)
    return embeds, places.mask
