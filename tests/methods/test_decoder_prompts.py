"""Prompt tuning's vectors in front of a decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning
from cuecard.types import InitContext, States

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
    )


def test_both_places_have_lengths_of_their_own() -> None:
    method = PromptTuning(length=3, decoder_length=2, init="random").build(context())
    injection = method.injection()
    assert injection.vectors.shape == (3, 8) and injection.length == 5
    assert injection.decoder is not None and injection.decoder.shape == (2, 8)
    assert not torch.equal(injection.vectors[:2], injection.decoder)
    assert len(list(method.parameters())) == 2


def test_a_prompt_of_the_decoder_alone() -> None:
    method = PromptTuning(length=0, decoder_length=4, text="hey").build(context())
    injection = method.injection()
    assert injection.vectors.shape == (0, 8) and injection.decoder is not None
    assert torch.equal(injection.decoder, TABLE[[104, 101, 121, 104]])
    assert [name for name, _ in method.named_parameters()] == ["decoder"]


def test_starts_from_prompts() -> None:
    rows, front = torch.randn(3, 8), torch.randn(2, 8)
    settings = PromptTuning(init="prompt", prompt=rows, decoder_length=2, decoder_prompt=front)
    injection = settings.build(context()).injection()
    assert torch.equal(injection.vectors, rows) and settings.warm_start == (rows, front)
    assert injection.decoder is not None and torch.equal(injection.decoder, front)
    sampled = PromptTuning(init="prompt", prompt=rows, decoder_length=2).build(context())
    decoder = sampled.injection().decoder
    assert decoder is not None and len(decoder) == 2
    for row in decoder:
        assert bool((row == TABLE).all(1).any())


OWN = -TABLE[:110]


@pytest.mark.parametrize("init", ["vocabulary", "text", "labels", "random"])
def test_they_start_among_the_decoders_own_embeddings(init: Any) -> None:
    settings = PromptTuning(length=2, decoder_length=2, init=init)
    injection = settings.build(replace(context(), towers={"decoder": OWN})).injection()
    assert torch.equal(injection.vectors, settings.build(context()).injection().vectors)
    assert injection.decoder is not None
    among = [bool((row == OWN).all(1).any()) for row in injection.decoder]
    assert all(among) if init != "random" else not any(among)
    same = replace(context(), towers={"decoder": TABLE})
    shared = settings.build(same).injection().decoder
    plain = settings.build(context()).injection().decoder
    assert shared is not None and plain is not None and torch.equal(shared, plain)


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
