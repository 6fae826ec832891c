"""Texts as vectors under many prompts at once: each is the one got alone, and none is crossed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.engine.protocol import Embedding, Held
from cuecard.evaluation.embedding import embed
from cuecard.tasks import TaskSpec
from cuecard.types import Encoded, Injection, InputTokens, LayerTokens, PrefixKV, Record, Slot
from support.serving.cases import QUESTIONS
from support.serving.requests import noise, serving
from support.tiny import MASKED, tiny_encoder

TOLERANCE = 1e-4
APART = 2e-2
SPECS = [TaskSpec(kind="embedding", template=each) for each in ("{text}", "about: {text}")]


@dataclass(frozen=True)
class Case:
    """A text under a prompt, and its vector got alone."""

    prompt: Held | None
    row: Encoded
    text: str
    vector: Tensor

    def asked(self) -> Embedding:
        return Embedding(self.prompt, self.row)


def injections(backbone: Any) -> list[tuple[Injection | None, Slot]]:
    found: list[tuple[Injection | None, Slot]] = [
        (None, "prefix"),
        (InputTokens(noise(1, 20, 32)), "prefix"),
        (InputTokens(noise(2, 3, 32)), "prefix"),
        (InputTokens(noise(3, 3, 32)), "prefix"),  # as long as another
        (InputTokens(noise(4, 7, 32)), "suffix"),
        (InputTokens(noise(5, 5, 32), noise(6, 9, 32)), "prefix"),
        (InputTokens(noise(5, 0, 32), noise(7, 30, 32)), "prefix"),
    ]
    if backbone.unsupported("layer-tokens") is None:
        found += [(LayerTokens(noise(seed, 2, 6, 32)), "prefix") for seed in (8, 9)]
    if backbone.unsupported("prefix-kv") is None:
        heads, size = backbone.key_shape
        found += [
            (PrefixKV(noise(seed, 2, 2, heads, length, size)), "prefix")
            for seed, length in ((10, 5), (11, 5), (12, 16))
        ]
    return found


def cases_on(backbone: Any) -> list[Case]:
    made = []
    for number, (injection, slot) in enumerate(injections(backbone)):
        spec = SPECS[number % 2]
        held = None if injection is None else Held(f"prompt-{number}", injection)
        for text in QUESTIONS:
            row = spec.encode(Record({"text": text}, None), backbone.tokenizer, slot)
            (vector,) = embed(backbone, spec, [text], injection, slot=slot)
            made.append(Case(held, row, text, vector))
    for one, other in combinations(made, 2):
        # Whoever got another's vector would be seen.
        assert float((one.vector - other.vector).abs().max()) > APART, (one, other)
    return made


def off(cases: Sequence[Case], vectors: Sequence[Tensor]) -> float:
    assert all(vector.dtype == torch.float32 for vector in vectors)
    pairs = zip(cases, vectors, strict=True)
    return max(float((case.vector - vector).abs().max()) for case, vector in pairs)


@pytest.mark.parametrize("kind", MASKED)
def test_one_call_with_every_prompt(kind: str) -> None:
    backbone = tiny_encoder(kind)
    cases = cases_on(backbone)
    random.Random(0).shuffle(cases)

    async def ask() -> Any:
        async with serving(backbone) as engine:
            backbone.reset_counts()
            found = await engine.embed([case.asked() for case in cases])
            return found, engine.stats(), dict(backbone.counts)

    found, stats, counts = asyncio.run(ask())
    assert off(cases, found) <= TOLERANCE
    assert stats["rows_embedded"] == len(cases)
    # Mixed batches: far fewer passes than there are prompts times lengths.
    assert counts["calls"] == stats["passes"] <= len(cases) // 4


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_many_clients_while_prompts_come_and_go(kind: str) -> None:
    backbone = tiny_encoder(kind)
    cases = cases_on(backbone)
    worst: list[float] = []

    async def client(engine: Any, number: int) -> None:
        dice = random.Random(number)
        for _ in range(4):
            some = dice.sample(cases, dice.randint(1, 5))
            prompt = dice.choice(cases).prompt
            if prompt is not None:
                await engine.hold(prompt)
            worst.append(off(some, await engine.embed([case.asked() for case in some])))
            if prompt is not None:
                await engine.drop(prompt.digest)

    async def ask() -> Any:
        async with serving(backbone) as engine:
            await asyncio.gather(*(client(engine, number) for number in range(32)))
            return engine.stats()

    stats = asyncio.run(ask())
    assert len(worst) == 128 and max(worst) <= TOLERANCE
    assert stats["failed"] == 0 and stats["queue_rows"] == 0
    # Rows of several callers share passes.
    assert stats["passes"] < stats["rows_embedded"] / 3
