"""An encoder as it is run: ids and an injection in, hidden states out, counted."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from cuecard.backbones.bidirectional import NAME as PREFIXED
from cuecard.backbones.bidirectional import Prefixed, prefixed
from cuecard.backbones.deep import Deep
from cuecard.backbones.frozen import FrozenModel
from cuecard.backbones.halves import Half, prompt_in
from cuecard.backbones.injected import Injected


class EncoderRun:
    """Runs the encoder of a frozen model over rows that are padded on the right.

    Args:
        encoder: the part of the model that gives hidden states.
    """

    def __init__(self, frozen: FrozenModel, encoder: Any) -> None:
        self._frozen, self._encoder = frozen, encoder
        self.positions = int(getattr(frozen.config, "max_position_embeddings", 0) or 2048)
        self.first_position = _first_position(encoder, self.positions)

    def __call__(self, half: Half, given: Injected) -> Tensor:
        """[B, W, H] the last layer's hidden states."""
        if given.prefix is None:
            return self._plain(half, given)
        return self.with_prefix(half, given)[0]

    def with_prefix(
        self, half: Half, given: Injected, *, keep: bool = False
    ) -> tuple[Tensor, Prefixed]:
        """The same through our attention, prefix or none, and what it saw.

        Args:
            keep: whether every layer's own keys and values are kept.
        """
        with self._frozen.attending(PREFIXED), prefixed(given.prefix, keep=keep) as running:
            return self._plain(half, given), running

    def _plain(self, half: Half, given: Injected) -> Tensor:
        counts = self._frozen.counts
        counts["calls"] += 1
        counts["tokens"] += half.ids.numel()
        options: dict[str, Any] = {}
        if given.ahead and self._frozen.takes_positions:
            # Without a prefix models count for themselves, and padding stands behind.
            places = (half.mask.cumsum(1) - 1).clamp(min=0)
            options["position_ids"] = places + self.first_position + given.ahead
        shifts = given.vectors[:0] if given.shifts is None else given.shifts
        with ExitStack() as stack:
            stack.enter_context(prompt_in(self._frozen.embed, half, given.vectors, shifts))
            if given.layers is not None:
                at = half.is_prompt.flatten().nonzero().flatten()
                deep = Deep(given.layers, at, half.prompt_index.flatten()[at])
                stack.enter_context(self._frozen.replacing([deep]))
            found = self._encoder(input_ids=half.ids, attention_mask=half.mask, **options)
        return torch.as_tensor(found.last_hidden_state)


def _first_position(encoder: nn.Module, positions: int) -> int:
    """Where a text's positions begin: behind the padding's own, where the table has such a row."""
    for module in encoder.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == positions:
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
