"""The oracle of encoder-decoders: one row at a time, no padding, no hooks, no cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cuecard.types import Encoded, Injection, InputTokens, by_tower

# What each tiny model's tokenizer puts behind a text, and what its decoder begins with.
ENDS = (2,)
OPENINGS = {
    "t5-relu": (0,),
    "t5-gated": (0,),
    "bart": (2, 1),
    "marian-scaled": (0,),
    "marian-apart": (0,),
    "pegasus": (0,),
    "mbart-scaled": (2,),
}


def encoder_embeds(model: Any, row: Encoded, injection: Injection) -> Tensor:
    """[1, S, H] what the encoder is handed, with the scaling it leaves out for embeddings."""
    encoder, given = model.get_encoder(), by_tower(injection)["text"]
    assert isinstance(given, InputTokens)
    embed = encoder.get_input_embeddings()
    tokens = embed(torch.tensor([*row.context, *ENDS]))
    if given.shifts is not None:
        count = min(len(given.shifts), len(tokens))
        shifted = tokens[:count] + given.shifts[:count].to(tokens)
        tokens = torch.cat([shifted, tokens[count:]])
    parts = [tokens[: row.slot], given.vectors.to(tokens), tokens[row.slot :]]
    return torch.cat(parts)[None] * getattr(encoder, "embed_scale", 1.0)


def plain_logits(
    model: Any, kind: str, row: Encoded, injection: Injection | None, target: Sequence[int]
) -> Tensor:
    """[len(target), V] the logits of each of the target's tokens."""
    width = model.get_input_embeddings().weight.shape[1]
    injection = injection or InputTokens(torch.zeros(0, width))
    decoder = by_tower(injection).get("decoder", InputTokens(torch.zeros(0, width)))
    assert isinstance(decoder, InputTokens)
    embed = model.get_decoder().get_input_embeddings()
    given = embed(torch.tensor([[*OPENINGS[kind], *target[:-1]]]))
    logits: Tensor = model(
        inputs_embeds=encoder_embeds(model, row, injection),
        decoder_inputs_embeds=torch.cat([decoder.vectors[None].to(given), given], 1),
    ).logits[0]
    return logits[-len(target) :]
