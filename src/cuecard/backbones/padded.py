"""Rows padded to one width, behind the keys and values of what they share.

For models that bring an attention of their own, for rows too long to be packed, and for generation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cuecard.backbones.frozen import FrozenModel
from cuecard.backbones.layout import NOTHING_SHARED, Sharing, Side
from cuecard.backbones.rows import Rows, embed_rows, embed_shared

# On a CPU, plain matrix products beat the flash kernel's backward pass while scores stay small.
_EAGER_SCORES = 256 * 256


class PaddedRun:
    """Runs rows padded; what they share runs once at batch 1 and is broadcast, with gradients."""

    def __init__(self, frozen: FrozenModel) -> None:
        self._frozen = frozen
        capped = getattr(frozen.config, "attn_logit_softcapping", None) is not None
        # Not every release of transformers caps attention scores in both implementations.
        self._may_go_eager = frozen.own_attention == "sdpa" and not capped
        self._can_share = True
        layers = frozen.new_cache().layers
        self._slides = any(getattr(layer, "is_sliding", False) for layer in layers)

    def logits(self, rows: Rows, vectors: Tensor) -> Tensor:
        """[N, V] at the rows' reads."""
        plan = rows.plan(len(vectors)) if self._can_share else NOTHING_SHARED
        embeds, mask, cache, plan = self._prepared(rows, vectors, plan, "right")
        with self._frozen.read_at(rows.read_rows, rows.reads(plan, len(vectors))):
            logits: Tensor = self.run(embeds, mask, cache).logits[0]
        return logits

    def prefill(self, rows: Rows, vectors: Tensor) -> tuple[Tensor, Tensor, Any]:
        """What generation begins with: embeddings [B, W, H], their mask, and a cache.

        Rows end together, so padding stands behind the shared part; a window would count it.
        """
        may_share = self._can_share and not self._slides
        plan = rows.plan(len(vectors)) if may_share else NOTHING_SHARED
        embeds, mask, cache, _ = self._prepared(rows, vectors, plan, "left")
        return embeds, mask, self._frozen.new_cache() if cache is None else cache

    def run(self, embeds: Tensor, mask: Tensor, cache: Any) -> Any:
        """One forward pass over [B, W, H]; the mask [B, K + W] also covers K cached positions."""
        options: dict[str, Any] = {"attention_mask": mask}
        if self._frozen.takes_positions:
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -embeds.shape[1] :]
        if cache is not None:
            options["past_key_values"] = cache
        attention = self._attention(embeds.shape[1] * mask.shape[1])
        self._frozen.set_attention(attention)
        return self._frozen.call(
            embeds,
            lambda _: self._frozen.attending(attention),
            use_cache=cache is not None,
            **options,
        )

    def _prepared(
        self, rows: Rows, vectors: Tensor, plan: Sharing, side: Side
    ) -> tuple[Tensor, Tensor, Any, Sharing]:
        """Embeddings, mask and cache; and the plan, since not every model can share."""
        cache, plan, shared = self._run_shared(rows, vectors, plan)
        embeds, mask = embed_rows(self._frozen.embed, rows, vectors, plan, side)
        return embeds, torch.cat([mask.new_ones(len(mask), shared), mask], 1), cache, plan

    def _run_shared(self, rows: Rows, vectors: Tensor, plan: Sharing) -> tuple[Any, Sharing, int]:
        """Run the common part at batch 1 and broadcast it; returns cache, plan and its length."""
        if plan is NOTHING_SHARED:
            return None, plan, 0
        tokens = embed_shared(self._frozen.embed, rows, vectors, plan)
        length = tokens.shape[1]
        once = self._frozen.new_cache()
        nothing = rows.ids.new_zeros(0)
        with self._frozen.read_at(nothing, nothing):
            self.run(tokens, rows.ids.new_ones(1, length), once)
        if not _is_plain(once, length):
            # Sliding windows that dropped keys and recurrent states cannot be broadcast.
            self._can_share = False
            return None, NOTHING_SHARED, 0
        cache = self._frozen.new_cache()
        for index, layer in enumerate(once.layers):
            size = (len(rows.ids), -1, -1, -1)
            cache.update(layer.keys.expand(*size), layer.values.expand(*size), index)
        return cache, plan, length

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
