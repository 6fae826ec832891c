"""Heads beside label words, under many prompts at once: each answer is the one got alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from cuecard.engine.protocol import Held, Scoring
from cuecard.errors import ConfigError
from cuecard.evaluation.heads import head_outputs
from cuecard.types import (
    Encoded,
    Head,
    Injection,
    InputTokens,
    Placement,
    PrefixKV,
    Record,
    Slot,
    TokenTfidf,
)
from support.data.head_tasks import HEAD_SPEC
from support.serving.cases import QUESTIONS
from support.serving.requests import noise, scored_alone, serving
from support.tiny import tiny_backbone

TOLERANCE = 1e-3
WORDS = ((5,), (7, 9), (11,))


@dataclass(frozen=True)
class Case:
    """A row under a prompt, and what is got for it alone."""

    asked: Scoring
    alone: Sequence[float]


def injections(backbone: Any) -> list[tuple[Injection | None, Slot]]:
    found: list[tuple[Injection | None, Slot]] = [
        (None, "prefix"),
        (InputTokens(noise(1, 6, 32)), "prefix"),
        (InputTokens(noise(2, 6, 32)), "suffix"),
    ]
    if backbone.unsupported("prefix-kv") is None:
        heads, size = backbone.key_shape
        found.append((PrefixKV(noise(3, 2, 2, heads, 5, size)), "prefix"))
    if backbone.unsupported("late-prefix-kv") is None:
        heads, size = backbone.key_shape
        found.append((PrefixKV(noise(4, 2, 2, heads, 5, size), late=True), "infix"))
    return found


def head_for(backbone: Any, number: int, layers: tuple[int, ...] = ()) -> Head:
    """With more than one layer it counts every third token, too."""
    ids = torch.arange(0, 384, 3)
    tfidf = TokenTfidf(ids, 1 + noise(30, len(ids)).abs()) if len(layers) > 1 else None
    width = backbone.head_width(layers) + (0 if tfidf is None else len(ids))
    return Head(noise(10 + number, 3, width), noise(20 + number, 3), layers, tfidf)


def cases_on(backbone: Any) -> list[Case]:
    made = []
    template = HEAD_SPEC.template + (" {mask}." if backbone.peft_task is None else "")
    spec = HEAD_SPEC.model_copy(update={"template": template})
    words = spec.in_words
    for number, (injection, slot) in enumerate(injections(backbone)):
        held = None if injection is None else Held(f"prompt-{number}", injection)
        heads = [head_for(backbone, number)]
        if slot in ("suffix", "infix") and backbone.unsupported("late-prefix-kv") is None:
            heads += [head_for(backbone, number, (1,)), head_for(backbone, number, (0, 1))]
        for text in QUESTIONS:
            record = Record({"text": text}, None)
            row = spec.encode(record, backbone.tokenizer, slot)
            for head in heads:
                (alone,) = head_outputs(backbone, [row], injection, head, batch_rows=1)
                made.append(Case(Scoring(held, row, head=head), alone[-1].tolist()))
            scored = Scoring(held, words.encode(record, backbone.tokenizer, slot), WORDS)
            made.append(Case(scored, scored_alone(backbone, scored)))
    return made


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2-softcap", "t5-gated", "roberta"])
def test_one_call_with_every_prompt(kind: str) -> None:
    backbone = tiny_backbone(kind)
    cases = cases_on(backbone)
    random.Random(0).shuffle(cases)

    async def ask() -> Any:
        async with serving(backbone) as engine:
            found = await engine.score([case.asked for case in cases])
            some = cases[: len(cases) // 3]  # from the prefix cache, where there is one
            return [*found, *await engine.score([case.asked for case in some])], len(some)

    found, again = asyncio.run(ask())
    for case, numbers in zip([*cases, *cases[:again]], found, strict=True):
        assert numbers == pytest.approx(case.alone, abs=TOLERANCE), case.asked


def test_a_prompt_in_front_of_everything_leaves_nothing_to_pool() -> None:
    """Whatever of the context comes from the prefix cache."""
    backbone = tiny_backbone()
    injection, head = InputTokens(noise(1, 6, 32)), head_for(backbone, 0, (0, 1))
    rows = [Encoded(tuple(range(5, 45 + n)), (), Placement.at(0)) for n in range(6)]
    alone = [head_outputs(backbone, [row], injection, head, batch_rows=1)[0][-1] for row in rows]

    async def ask() -> Any:
        async with serving(backbone) as engine:
            return [
                (await engine.score([Scoring(Held("prompt", injection), row, head=head)]))[0]
                for row in rows
            ]

    for numbers, expected in zip(asyncio.run(ask()), alone, strict=True):
        assert numbers == pytest.approx(expected.tolist(), abs=TOLERANCE)


def test_words_and_a_head_are_not_read_at_once() -> None:
    backbone = tiny_backbone()
    row = HEAD_SPEC.encode(Record({"text": "a film"}, None), backbone.tokenizer, "prefix")
    head = Head(noise(1, 2, 32), noise(2, 2))

    async def ask(asked: Scoring) -> None:
        async with serving(backbone) as engine:
            await engine.score([asked])

    for asked in (Scoring(None, row), Scoring(None, row, ((5,),), head)):
        with pytest.raises(ConfigError, match="no words to score"):
            asyncio.run(ask(asked))
