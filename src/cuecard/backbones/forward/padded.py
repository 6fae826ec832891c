"""Run rows padded to one width, after the cached keys and values of their shared prefix.

For models that bring an attention of their own, for rows too long to be packed, and for generation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.unpadded import UnpaddedRows, embed_rows, embed_shared
from cuecard.backbones.kernels.layer_tokens import PlacedLayerTokens, states_of, watching
from cuecard.backbones.kernels.positions import NOTHING_SHARED, Sharing, Side
from cuecard.types import States

# On a CPU, plain matrix products beat the flash kernel's backward pass while scores stay small.
_EAGER_SCORES = 256 * 256


@dataclass(frozen=True, slots=True)
class Padded:
    """What one forward pass takes.

    Attributes:
        embeds: [B, W, H].
        mask: [B, C + W] 1 where something real stands; the C first columns are the cache's.
        cache: keys and values of what came before; None for none, and then none are kept.
        deep: vectors that layers take in; None for none.
        view: where each token is and what it sees, if the mask does not say; None if it does.
    """

    embeds: Tensor
    mask: Tensor
    cache: Any
    deep: PlacedLayerTokens | None = None
    view: View | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What tokens see that do not all see the cache.

    Attributes:
        positions: [B, W].
        bias: [B, 1, W, C + W] what is added to scores: 0, or next to -inf.
    """

    positions: Tensor
    bias: Tensor

    @classmethod
    def of(cls, rows: UnpaddedRows, mask: Tensor, side: Side, dtype: torch.dtype) -> View:
        """For rows whose tokens before their slots do not see the prefix, from mask [B, W]."""
        ahead, width = rows.given.ahead, mask.shape[1]
        place = torch.arange(width, device=mask.device).expand_as(mask)
        if side == "left":
            place = place - (width - rows.lengths[:, None])
        early = place < rows.slot[:, None]
        own = (place[:, :, None] >= place[:, None]) & mask[:, None].bool()
        # Padding sees itself: a row of nothing would have no softmax.
        own |= torch.eye(width, dtype=torch.bool, device=mask.device)
        seen = torch.cat([~early[..., None].expand(-1, -1, ahead), own], 2)[:, None]
        bias = torch.zeros(seen.shape, dtype=dtype, device=mask.device)
        bias.masked_fill_(~seen, torch.finfo(dtype).min)
        return cls((place + ahead * ~early).clamp(min=0), bias)


class PaddedRun:
    """Runs rows padded; what they share runs once at batch 1 and is broadcast, with gradients."""

    def __init__(self, frozen: FrozenModel) -> None:
        self._frozen = frozen
        self._may_go_eager = frozen.own_attention == "sdpa"
        self._can_share = True
        layers = frozen.new_cache().layers
        self._slides = any(getattr(layer, "is_sliding", False) for layer in layers)

    @property
    def slides(self) -> bool:
        """Whether some layers see a window alone."""
        return self._slides

    def at_reads(self, rows: UnpaddedRows) -> Tensor:
        """Logits [N, V] at the rows' reads; hidden states [N, H] if the model keeps those."""
        plan = rows.plan() if self._can_share else NOTHING_SHARED
        padded, plan = self._prepared(rows, plan, "right")
        with self._frozen.read_at(rows.read_rows, rows.reads(plan)):
            return self._frozen.at_reads(self.run(padded))

    def prefill(self, rows: UnpaddedRows) -> Padded:
        """What generation begins with, with a cache.

        Rows end together, so padding stands after the shared part; a window would count it.
        """
        may_share = self._can_share and not self._slides
        plan = rows.plan() if may_share else NOTHING_SHARED
        padded, _ = self._prepared(rows, plan, "left")
        return padded if padded.cache is not None else replace(padded, cache=self._cache(None, 0))

    def run(self, padded: Padded) -> Any:
        """One forward pass."""
        embeds, mask = padded.embeds, padded.mask
        options: dict[str, Any] = {"attention_mask": mask}
        if padded.view is not None:
            view = padded.view
            options = {"attention_mask": view.bias, "position_ids": view.positions}
        elif self._frozen.takes_positions:
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -embeds.shape[1] :]
        if padded.cache is not None:
            options[self._frozen.cache_name] = padded.cache
        attention = self._attention(embeds.shape[1] * mask.shape[1])
        self._frozen.set_attention(attention)
        with self._frozen.replacing([] if padded.deep is None else [padded.deep]):
            return self._frozen.call(
                embeds,
                lambda _: self._frozen.attending(attention),
                use_cache=padded.cache is not None,
                **options,
            )

    @torch.no_grad()
    def states(self, vectors: Tensor) -> States:
        """What the layers make of vectors [T, H] alone."""
        cache, layers = self._cache(None, 0), self._frozen.decoder_layers
        mask = torch.ones(1, len(vectors), dtype=torch.long, device=vectors.device)
        with watching(layers) as seen, self._frozen.read_at(mask[0, :0], mask[0, :0]):
            self.run(Padded(vectors[None], mask, cache))
        plain = _is_plain(cache, len(vectors))
        kept = [(layer.keys, layer.values) for layer in cache.layers] if plain else []
        return states_of(vectors, seen, kept)

    def _prepared(self, rows: UnpaddedRows, plan: Sharing, side: Side) -> tuple[Padded, Sharing]:
        """What is to be run; and the plan, since not every model can share."""
        cache, plan, before = self._run_shared(rows, plan)
        embeds, mask, deep = embed_rows(self._frozen.embed, rows, plan, side)
        view = View.of(rows, mask, side, embeds.dtype) if rows.given.late else None
        mask = torch.cat([mask.new_ones(len(mask), before), mask], 1)
        return Padded(embeds, mask, cache, deep, view), plan

    def _run_shared(self, rows: UnpaddedRows, plan: Sharing) -> tuple[Any, Sharing, int]:
        """Run the common part at batch 1 and broadcast it; returns cache, plan and its length."""
        prefix, ahead = rows.given.prefix, rows.given.ahead
        if plan is NOTHING_SHARED:
            return None if prefix is None else self._cache(prefix, len(rows.ids)), plan, ahead
        tokens, deep = embed_shared(self._frozen.embed, rows, plan)
        length = ahead + tokens.shape[1]
        once = self._cache(prefix, 1)
        nothing = rows.ids.new_zeros(0)
        with self._frozen.read_at(nothing, nothing):
            self.run(Padded(tokens, rows.ids.new_ones(1, length), once, deep))
        if not _is_plain(once, length):
            # Sliding windows that dropped keys and recurrent states cannot be broadcast.
            self._can_share = False
            return self._run_shared(rows, NOTHING_SHARED)
        cache = self._frozen.new_cache()
        for index, layer in enumerate(once.layers):
            size = (len(rows.ids), -1, -1, -1)
            cache.update(layer.keys.expand(*size), layer.values.expand(*size), index)
        return cache, plan, length

    def _cache(self, prefix: Tensor | None, rows: int) -> Any:
        """A cache that begins with a prefix [L, 2, K, P, D] in every row."""
        cache = self._frozen.new_cache()
        for index, (keys, values) in enumerate([] if prefix is None else prefix):
            size = (rows, -1, -1, -1)
            cache.update(keys[None].expand(*size), values[None].expand(*size), index)
        return cache

    def _attention(self, scores: int) -> str:
        small = scores <= _EAGER_SCORES and self._frozen.device.type == "cpu"
        return "eager" if small and self._may_go_eager else self._frozen.own_attention


def _is_plain(cache: Any, length: int) -> bool:
    """Whether every layer holds plain keys and values for exactly `length` positions."""
    for layer in cache.layers:
        keys = getattr(layer, "keys", None)
        values = getattr(layer, "values", None)
        for held in (keys, values):
            if not isinstance(held, Tensor) or held.ndim != 4 or held.shape[2] != length:
                return False
    return bool(cache.layers)
