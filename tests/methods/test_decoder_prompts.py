"""Prompt tuning's vectors in front of a decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning, SoftPrompt
from cuecard.types import InitContext, InputTokens, States, by_tower

TABLE = torch.randn(300, 8, generator=torch.Generator().manual_seed(0)) * 0.05


def context() -> InitContext:
    generator = torch.Generator().manual_seed(0)
    return InitContext(
        embeddings=TABLE,
        encode=lambda text: [*map(ord, text)],
        special_ids=frozenset(),
        labels=((5,),),
        text="abc",
        generator=generator,
        states=lambda vectors: States(vectors[None], None),
        layers=1,
    )


def towers(method: SoftPrompt) -> tuple[torch.Tensor, torch.Tensor]:
    """The vectors of the text tower and of the decoder."""
    pieces = by_tower(method.injection())
    text, decoder = pieces["text"], pieces["decoder"]
    assert isinstance(text, InputTokens) and isinstance(decoder, InputTokens)
    return text.vectors, decoder.vectors


def test_both_places_have_lengths_of_their_own() -> None:
    method = PromptTuning(length=3, decoder_length=2, init="random").build(context())
    text, decoder = towers(method)
    assert text.shape == (3, 8) and decoder.shape == (2, 8) and method.injection().length == 5
    assert not torch.equal(text[:2], decoder)
    assert len(list(method.parameters())) == 2


def test_a_prompt_of_the_decoder_alone() -> None:
    method = PromptTuning(length=0, decoder_length=4, text="hey").build(context())
    text, decoder = towers(method)
    assert text.shape == (0, 8) and torch.equal(decoder, TABLE[[104, 101, 121, 104]])
    assert [name for name, _ in method.named_parameters()] == ["decoder"]


def test_starts_from_prompts() -> None:
    rows, front = torch.randn(3, 8), torch.randn(2, 8)
    settings = PromptTuning(init="prompt", prompt=rows, decoder_length=2, decoder_prompt=front)
    text, decoder = towers(settings.build(context()))
    assert torch.equal(text, rows) and settings.warm_start == (rows, front)
    assert torch.equal(decoder, front)
    sampled = PromptTuning(init="prompt", prompt=rows, decoder_length=2).build(context())
    decoder = towers(sampled)[1]
    assert len(decoder) == 2
    for row in decoder:
        assert bool((row == TABLE).all(1).any())


OWN = -TABLE[:110]


@pytest.mark.parametrize("init", ["vocabulary", "text", "labels", "random"])
def test_they_start_among_the_decoders_own_embeddings(init: Any) -> None:
    settings = PromptTuning(length=2, decoder_length=2, init=init)
    text, decoder = towers(settings.build(replace(context(), towers={"decoder": OWN})))
    assert torch.equal(text, towers(settings.build(context()))[0])
    among = [bool((row == OWN).all(1).any()) for row in decoder]
    assert all(among) if init != "random" else not any(among)
    same = replace(context(), towers={"decoder": TABLE})
    shared, plain = (towers(settings.build(given))[1] for given in (same, context()))
    assert torch.equal(shared, plain)


def test_a_word_that_the_decoder_has_not() -> None:
    here = replace(context(), towers={"decoder": TABLE[:50]})
    with pytest.raises(ConfigError, match="embedding table has not"):
        PromptTuning(length=2, decoder_length=2, text="abc").build(here)


def test_only_a_decoder_prompt_asks_for_a_decoder() -> None:
    assert PromptTuning().requires == {"text": ("input-tokens",)}
    assert set(PromptTuning(decoder_length=1).requires) == {"text", "decoder"}
    assert set(PromptTuning(length=0, decoder_length=1).requires) == {"decoder"}


def test_a_prompt_without_vectors() -> None:
    with pytest.raises(ValueError, match="decoder_length above 0"):
        PromptTuning(length=0)
