"""An injection's tensors for an encoder-decoder: checked, on its device, in its dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from cuecard.errors import BackboneError
from cuecard.types import InputTokens, PromptMix, Tower, TowerInjection


class Seq2SeqInjected(NamedTuple):
    """Vectors [P, H] in the encoder, shifts [S, H] there, and vectors [D, H] before the decoder.

    What an injection leaves out has no rows. A mix is added to the encoder's vectors.
    """

    vectors: Tensor
    shifts: Tensor
    decoder: Tensor
    mix: PromptMix | None = None


def seq2seq_injected(
    pieces: Mapping[Tower, TowerInjection],
    hidden: int,
    device: torch.device,
    dtype: torch.dtype,
    name: str,
) -> Seq2SeqInjected:
    """The tensors of an injection by tower.

    Args:
        hidden: H.
        name: of the backbone, for messages.

    Raises:
        BackboneError: an injection of another kind or of other sizes than the model's.
    """
    none = torch.zeros(0, hidden, device=device, dtype=dtype)
    given: dict[Tower, InputTokens] = {"text": InputTokens(none), "decoder": InputTokens(none)}
    for tower, piece in pieces.items():
        if not isinstance(piece, InputTokens) or (tower == "decoder" and piece.shifts is not None):
            raise BackboneError(
                "an encoder-decoder takes no such prompt",
                where=name,
                got=f"{type(piece).__name__} for the {tower} tower",
                expected="vectors among the embeddings, of the encoder or the decoder",
            )
        given[tower] = piece
    tensors = given["text"].vectors, given["text"].shifts, given["decoder"].vectors
    parts = [none if tensor is None else tensor.to(none) for tensor in tensors]
    for what, part in zip(("vectors", "shifts", "decoder vectors"), parts, strict=True):
        if part.ndim != 2 or part.shape[1] != hidden:
            raise BackboneError(
                f"the prompt's {what} do not fit this backbone",
                where=name,
                got=f"shape {tuple(part.shape)}",
                expected=f"shape (P, {hidden})",
            )
    mix = given["text"].mix
    vectors, shifts, decoder = parts
    return Seq2SeqInjected(vectors, shifts, decoder, None if mix is None else mix.to(device))
