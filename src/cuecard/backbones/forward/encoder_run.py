"""Run an encoder: ids and injections in, hidden states out, with counts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.injected import Injected
from cuecard.backbones.forward.seq2seq_inputs import PromptedInput, TowerInput, prompts_in
from cuecard.backbones.kernels.bidirectional import NAME as PREFIXED
from cuecard.backbones.kernels.bidirectional import prefixed
from cuecard.backbones.kernels.layer_tokens import PlacedLayerTokens

EncoderPart = tuple[TowerInput, Injected]
"""Rows, and the prompt that all of them have."""


class EncoderRun:
    """Runs the encoder of a frozen model over rows that are padded on the right.

    Args:
        encoder: the part of the model that gives hidden states.
        padding: the id of the padding token, by which some models count positions.
    """

    def __init__(self, frozen: FrozenModel, encoder: Any, padding: int) -> None:
        self._frozen, self._encoder, self._padding = frozen, encoder, padding
        self.positions = int(getattr(frozen.config, "max_position_embeddings", 0) or 2048)
        self.first_position = _first_position(encoder, self.positions)

    def __call__(self, half: TowerInput, given: Injected) -> Tensor:
        """[B, W, H] the last layer's hidden states."""
        return self.many([(half, given)])[0]

    def many(self, parts: Sequence[EncoderPart]) -> list[Tensor]:
        """Each part's hidden states, at the width of the widest: one pass, a prompt in each row."""
        width = max(half.ids.shape[1] for half, _ in parts)
        wide = [(half.widened(width, self._padding), given) for half, given in parts]
        if all(given.prefix is None for _, given in wide):
            found = self._plain(wide)
        else:
            found = self._with_prefixes(wide)
        return list(torch.split(found, [len(half.ids) for half, _ in wide]))

    def _with_prefixes(self, parts: Sequence[EncoderPart]) -> Tensor:
        with self._frozen.attending(PREFIXED), prefixed(*_in_front(parts)):
            return self._plain(parts)

    def _plain(self, parts: Sequence[EncoderPart]) -> Tensor:
        ids, mask = (
            torch.cat([getattr(half, name) for half, _ in parts]) for name in ("ids", "mask")
        )
        counts = self._frozen.counts
        counts["calls"] += 1
        counts["tokens"] += ids.numel()
        options: dict[str, Any] = {}
        if self._frozen.takes_positions and any(given.ahead for _, given in parts):
            # Without a prefix models count for themselves, and padding stands after.
            ahead = torch.cat([half.ids.new_full((len(half.ids), 1), g.ahead) for half, g in parts])
            options["position_ids"] = (
                (mask.cumsum(1) - 1).clamp(min=0) + self.first_position + ahead
            )
        with ExitStack() as stack:
            stack.enter_context(prompts_in(self._frozen.embed, [_among(*part) for part in parts]))
            if deep := _deep(parts):
                stack.enter_context(self._frozen.replacing(deep))
            found = self._encoder(input_ids=ids, attention_mask=mask, **options)
        return torch.as_tensor(found.last_hidden_state)


def _among(half: TowerInput, given: Injected) -> PromptedInput:
    """What goes among the embeddings: the vectors, and what is added to them."""
    shifts = given.vectors[:0] if given.shifts is None else given.shifts
    return PromptedInput(half, given.vectors, shifts, given.mix)


def _deep(parts: Sequence[EncoderPart]) -> list[PlacedLayerTokens]:
    """What layers take in, in the rows of all parts, one part's after another's."""
    found, start = [], 0
    for half, given in parts:
        if given.layers is not None:
            at = half.is_prompt.flatten().nonzero().flatten()
            found.append(
                PlacedLayerTokens(given.layers, at + start, half.prompt_index.flatten()[at])
            )
        start += half.ids.numel()
    return found


def _in_front(parts: Sequence[EncoderPart]) -> tuple[Tensor | None, Tensor | None]:
    """Keys and values [L, 2, R, K, P, D] in front of the rows, and which [B, P] each row sees.

    A part alone has the same in every row, R being 1, and sees all of it.
    """
    first = next((given.prefix for _, given in parts if given.prefix is not None), None)
    if first is None:
        return None, None
    if len(parts) == 1:
        return first[:, :, None], None
    longest = max(given.ahead for _, given in parts)
    nothing = first[..., :0, :]
    prefixes, front = [], []
    for half, given in parts:
        own = nothing if given.prefix is None else given.prefix
        padded = functional.pad(own, (0, 0, 0, longest - given.ahead))
        prefixes.append(padded[:, :, None].expand(-1, -1, len(half.ids), -1, -1, -1))
        place = torch.arange(longest, device=half.ids.device)
        front.append((place < given.ahead).expand(len(half.ids), -1))
    return torch.cat(prefixes, 2), torch.cat(front)


def _first_position(encoder: nn.Module, positions: int) -> int:
    """Where a text's positions begin: after the padding's own, where the table has such a row."""
    for module in encoder.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == positions:
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
