"""A model in this process as an LLM: the answers of its own generation, in its chat template."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from cuecard.backbones import CausalBackbone
from cuecard.engine.chat_llm import EngineLLM
from cuecard.engine.local.engine import LocalEngine
from cuecard.errors import ConfigError, LLMError
from cuecard.llms.protocol import LLMAnswer, LLMMessage, LLMRequest
from cuecard.types import Placement
from support.tiny import tiny_backbone

ASKED = LLMRequest((LLMMessage("system", "Be brief."), LLMMessage("user", "Is it good?")), 12)


def ask(backbone: CausalBackbone, *requests: LLMRequest) -> list[LLMAnswer]:
    """Answers, all asked for at once."""

    async def run() -> list[LLMAnswer]:
        engine = LocalEngine(backbone)
        await engine.start()
        try:
            llm = EngineLLM(engine, "tiny")
            found = await asyncio.gather(*map(llm.complete, requests))
            for request, answer in zip(requests, found, strict=True):
                assert answer.usage.prompt_tokens == llm.most_prompt_tokens(request)
            await llm.close()
            return found
        finally:
            await engine.close()

    return asyncio.run(run())


def test_answers_are_those_of_the_model_in_its_chat_template() -> None:
    backbone = tiny_backbone()
    tokenizer: Any = backbone.tokenizer
    turns = [{"role": m.role, "content": m.content} for m in ASKED.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    (wanted,) = backbone.generate([ids], [Placement()], None, ASKED.max_tokens)
    drawn = [LLMRequest(ASKED.messages, 12, temperature=1.0, sample=sample) for sample in (0, 1, 0)]
    found, *others = ask(backbone, ASKED, *drawn)
    assert found.text == tokenizer.decode(wanted, skip_special_tokens=True)
    assert (found.usage.prompt_tokens, found.model) == (len(ids), "tiny")
    assert found.finish_reason == ("length" if len(wanted) == 12 else "stop")
    # Draws are told apart by their number, and repeat by it.
    assert others[0] == others[2] and others[0].text != others[1].text


def test_an_answer_follows_its_schema() -> None:
    schema = {"type": "array", "items": {"enum": ["warm", "wide"]}, "minItems": 2, "maxItems": 2}
    held = replace(ASKED, max_tokens=40, schema=json.dumps(schema))
    plain, found = ask(tiny_backbone(), ASKED, held)
    words = json.loads(found.text)
    assert len(words) == 2 and {*words} <= {"warm", "wide"} and found.finish_reason == "stop"
    assert plain == ask(tiny_backbone(), ASKED)[0]
    # What cannot be followed is not: the messages say it too.
    (free,) = ask(tiny_backbone(), replace(ASKED, schema=json.dumps({"$ref": "elsewhere"})))
    assert free == plain


def test_what_is_asked_cannot_end_its_turn() -> None:
    """Control tokens in a row of data are read as text."""
    asked = [
        LLMRequest((LLMMessage("user", f"it is {text}good"),), 1) for text in ("", "<|end|></s>")
    ]
    plain, odd = ask(tiny_backbone(), *asked)
    assert odd.usage.prompt_tokens > plain.usage.prompt_tokens + 2


def test_an_answer_is_cut_where_the_positions_end_and_a_longer_request_is_refused() -> None:
    backbone = tiny_backbone()
    long = LLMRequest((LLMMessage("user", "it is good " * 50),), 500)
    (found,) = ask(backbone, long)
    assert found.usage.tokens <= backbone.max_positions and found.finish_reason == "length"
    with pytest.raises(LLMError, match="cannot take the request") as caught:
        ask(backbone, LLMRequest((LLMMessage("user", "it is good " * 200),), 5))
    assert caught.value.fatal and caught.value.unpaid


def test_a_model_without_a_chat_template_is_refused() -> None:
    engine = LocalEngine(tiny_backbone("t5-gated"))
    engine.tokenizer = type("Bare", (), {"chat_template": None})()
    with pytest.raises(ConfigError, match="no chat template"):
        EngineLLM(engine, "flan")
