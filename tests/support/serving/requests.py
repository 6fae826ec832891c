"""What the local engine's tests ask, and what the backbone alone answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import torch
from torch import Tensor

from cuecard.engine.local.engine import LocalEngine
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.protocol import Finished, Generation, Held, Sampling, Scoring, Token
from cuecard.tasks import collate
from cuecard.types import Encoded, Injection, InputTokens, LayerTokens, Placement, PrefixKV

Words = tuple[tuple[int, ...], ...]

ONE_TOKEN: Words = ((40,), (41,), (42,))
LONGER: Words = ((40, 50), (41,), (42, 50, 51, 52))


def noise(seed: int, *sizes: int) -> Tensor:
    """Large enough that each prompt's answers are its own."""
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def tokens(seed: int, length: int) -> tuple[int, ...]:
    """Random ids, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(4, 384, (length,), generator=generator).tolist())


def held(seed: int, length: int = 8) -> Held:
    """A prompt of vectors."""
    return Held(f"prompt-{seed}", InputTokens(noise(seed, length, 32)))


def prompts(key_heads: int, key_size: int, *, late: bool = False) -> list[tuple[Held | None, int]]:
    """Prompts of every kind, each with the slot its rows have (-1: behind the row)."""
    layers = torch.stack([noise(20 + layer, 6, 32) for layer in range(2)])
    keys_values = noise(9, 2, 2, key_heads, 5, key_size)
    given: list[tuple[Injection, int]] = [
        (InputTokens(noise(1, 20, 32)), 0),
        (InputTokens(noise(2, 3, 32)), 0),
        (InputTokens(noise(3, 7, 32)), -1),
        (InputTokens(noise(4, 4, 32)), 2),
        (InputTokens(noise(5, 5, 32), noise(6, 9, 32)), 0),
        (InputTokens(noise(5, 0, 32), noise(7, 30, 32)), 0),
        (LayerTokens(layers), 0),
        (LayerTokens(layers + 1), 2),
        (PrefixKV(keys_values), 0),
        *([(PrefixKV(keys_values + 0.1, late=True), 2)] * late),
    ]
    made = [(Held(f"kind-{n}", injection), slot) for n, (injection, slot) in enumerate(given)]
    return [*made, (None, 0)]


def slot_in(ids: Sequence[int], slot: int) -> int:
    """A slot of -1 is the end."""
    return len(ids) if slot < 0 else slot


def scored_alone(backbone: Any, asked: Scoring) -> list[float]:
    """Each word's summed log-probability, a word at a time."""
    injection = None if asked.prompt is None else asked.prompt.injection
    found = []
    for word in asked.words:
        batch = collate([(asked.row, word)])
        with torch.inference_mode():
            logs = backbone.forward(batch, injection).log_softmax(-1).double()
        found.append(float(logs.gather(1, batch.target_ids[:, None]).sum()))
    return found


def written_alone(backbone: Any, asked: Generation) -> list[int]:
    """The backbone's own greedy answer."""
    injection = None if asked.prompt is None else asked.prompt.injection
    sampling = asked.sampling
    found: list[int] = backbone.generate(
        [asked.context],
        [Placement.at(asked.slot)],
        injection,
        sampling.max_new_tokens,
        sampling.stop_ids,
    )[0]
    return found


def scoring(
    prompt: Held | None, ids: tuple[int, ...], slot: int = 0, words: Words = LONGER
) -> Scoring:
    """A row to score."""
    return Scoring(prompt, Encoded(ids, (), Placement.at(slot_in(ids, slot))), words)


def writing(
    prompt: Held | None, ids: tuple[int, ...], slot: int = 0, count: int = 12, **more: Any
) -> Generation:
    """A row to go on with."""
    return Generation(prompt, ids, slot_in(ids, slot), Sampling(count, **more))


async def written(engine: LocalEngine, asked: Generation) -> tuple[list[Token], str]:
    """A whole answer, and how it ended."""
    found: list[Token] = []
    async for item in engine.generate(asked):
        if isinstance(item, Finished):
            return found, item.reason
        found.append(item)
    raise AssertionError("an answer without an end")


@asynccontextmanager
async def serving(backbone: Any, **settings: Any) -> AsyncIterator[LocalEngine]:
    """An engine that runs."""
    engine = LocalEngine(backbone, LocalSettings(**settings))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
