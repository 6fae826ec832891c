"""What the engine decides before vLLM is asked, and so without it; the rest: test_conformance."""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import replace
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.engine.protocol import Embedding, Generation, Held, Sampling, Scoring
from cuecard.engine.vllm.backbone_info import BackboneInfo
from cuecard.engine.vllm.engine import VllmEngine
from cuecard.engine.vllm.library import VllmOptions
from cuecard.errors import BackboneError, ConfigError, EngineError, WrongBackboneError
from cuecard.types import (
    Encoded,
    Injection,
    InputTokens,
    LayerTokens,
    Placement,
    PrefixKV,
    PromptMix,
    Towers,
)
from support.data.reviews import SPEC
from support.tiny import tiny_backbone

VECTORS = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
MIX = PromptMix(
    VECTORS[None], torch.ones(2, 32), torch.ones(32, 2), torch.ones(32), torch.zeros(32), 1.0
)
HELD = Held("abc", InputTokens(VECTORS))


@pytest.fixture(scope="module")
def backbone() -> Any:
    return tiny_backbone()


@pytest.fixture(scope="module")
def engine(backbone: Any) -> VllmEngine:
    return VllmEngine(BackboneInfo.of(backbone), VllmOptions(max_positions=64))


def _prompt(injection: Injection, backbone: Any) -> Prompt:
    return Prompt.create(
        injection,
        backbone=backbone,
        spec=SPEC,
        method="prompt-tuning",
        method_config={},
        slot="prefix",
    )


def test_it_knows_of_the_backbone_what_prompts_need(backbone: Any) -> None:
    known = BackboneInfo.of(backbone)
    assert known.fingerprint == backbone.fingerprint
    assert known.end_ids == {2} and known.causal
    assert (known.hidden_size, known.num_layers, known.vocab_size) == (32, 2, 384)


def test_a_models_own_ends_count_too(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone.model.generation_config, "eos_token_id", [2, 3])
    assert BackboneInfo.of(backbone).end_ids == {2, 3}


def test_vectors_among_the_input_are_taken(engine: VllmEngine, backbone: Any) -> None:
    assert engine.refuses(_prompt(InputTokens(VECTORS), backbone)) is None  # and does not raise


@pytest.mark.parametrize(
    ("injection", "said"),
    [
        (PrefixKV(torch.randn(2, 2, 2, 3, 8)), "keys and values"),
        (LayerTokens(torch.randn(2, 3, 32)), "every layer's input"),
        (InputTokens(VECTORS, shifts=torch.randn(4, 32)), "shifts"),
        (InputTokens(VECTORS, mix=MIX), "depend on the input"),
        (Towers({"text": InputTokens(VECTORS), "decoder": InputTokens(VECTORS)}), "decoder"),
    ],
)
def test_what_vllm_has_no_place_for_is_refused(
    engine: VllmEngine, injection: Injection, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        asyncio.run(engine.hold(Held("x", injection)))
    assert caught.value.hint == "serve it with --engine local"


def test_a_prefix_is_refused_when_it_is_met(engine: VllmEngine, backbone: Any) -> None:
    prompt = _prompt(PrefixKV(torch.randn(2, 2, 2, 3, 8)), backbone)
    with pytest.raises(ConfigError, match="keys and values"):
        engine.refuses(prompt)


def test_another_backbones_prompt_is_refused(engine: VllmEngine) -> None:
    prompt = _prompt(InputTokens(VECTORS), tiny_backbone(seed=1))
    with pytest.raises(WrongBackboneError, match="embeddings"):
        engine.refuses(prompt)


def test_another_width_is_refused(engine: VllmEngine) -> None:
    with pytest.raises(ConfigError, match="width is not"):
        asyncio.run(engine.hold(Held("x", InputTokens(torch.randn(3, 31)))))


def test_texts_are_not_embedded(engine: VllmEngine) -> None:
    assert engine.embedding_size is None
    with pytest.raises(ConfigError, match="no embeddings") as caught:
        asyncio.run(engine.embed([Embedding(HELD, Encoded((5,), ()))]))
    assert "--engine local" in (caught.value.hint or "")


@pytest.mark.parametrize("kind", ["t5-relu", "bart"])
def test_an_encoder_decoder_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="encoder-decoder"):
        VllmEngine(BackboneInfo.of(tiny_backbone(kind)))


def test_a_quantised_form_is_refused(backbone: Any) -> None:
    known = BackboneInfo.of(backbone)
    quantised = replace(known, fingerprint=replace(known.fingerprint, quantize="int8"))
    with pytest.raises(ConfigError, match="int8"):
        VllmEngine(quantised)


@pytest.mark.parametrize(
    ("context", "slot", "words", "said"),
    [
        ((), 0, ((5,),), "0 tokens"),
        ((5,), 2, ((5,),), "slot 2"),
        ((5,), -1, ((5,),), "slot -1"),
        ((384,), 0, ((5,),), "384"),
        ((5, -1), 0, ((5,),), "-1"),
        ((5,), 0, ((5, 384),), "384"),
    ],
)
def test_rows_that_would_end_vllm_are_refused(
    engine: VllmEngine, context: Any, slot: int, words: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        asyncio.run(engine.score([Scoring(HELD, Encoded(context, (), Placement.at(slot)), words)]))


@pytest.mark.parametrize(("tokens", "fits"), [(60, True), (61, False)])
def test_the_prompt_and_the_answer_count(engine: VllmEngine, tokens: int, fits: bool) -> None:
    """64 positions, 3 of the prompt and one of the word."""
    row = Scoring(HELD, Encoded((5,) * tokens, ()), ((5,),))
    with pytest.raises(EngineError if fits else BackboneError, match=r"not running|65 tokens"):
        asyncio.run(engine.score([row]))


def test_nothing_is_written_before_the_start(engine: VllmEngine) -> None:
    async def first() -> Any:
        return await anext(engine.generate(Generation(None, (5,), 0, Sampling(2))))

    with pytest.raises(EngineError, match="not running"):
        asyncio.run(first())


def test_nothing_happened_yet(engine: VllmEngine) -> None:
    stats = engine.stats()
    assert stats["requests"] == stats["rows_at_work"] == stats["failed"] == 0


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_the_missing_package_is_named() -> None:
    with pytest.raises(ConfigError, match="vLLM is not installed") as caught:
        VllmEngine.open("smollm2-135m-instruct")
    assert "cuecard[vllm]" in str(caught.value.hint)
