"""Clients that ask for anything while prompts come and go; every answer is known beforehand."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from cuecard.errors import CuecardError
from cuecard.serving.engine import Generation, Held, Sampling, Scoring, Token
from cuecard.serving.local import LocalEngine
from cuecard.types import Encoded

CLIENTS, NEW_TOKENS = 64, 8
WORDS = ((100,), (200,), (300,))
# Scores are sums in another order; in bfloat16 they differ by this much, those of others by more.
_NEAR = 0.5


@dataclass
class Seen:
    """What has happened."""

    requests: int = 0
    given_up: int = 0
    errors: int = 0
    crossed: int = 0
    other_tokens: int = 0
    rss: list[int] = field(default_factory=list)


async def churn(
    engine: LocalEngine, prompts: Sequence[Held], contexts: Sequence[Encoded], seconds: float
) -> dict[str, Any]:
    """So many seconds of it.

    An answer is crossed if it is nearer to another prompt's than to its own. In bfloat16 two words
    that are as likely as each other may change places with the batch's shape; such answers are
    counted as `other_tokens`.
    """
    await engine.start()
    known = Known(engine, prompts, contexts)
    await known.learn()
    seen, until = Seen(), time.monotonic() + seconds
    clients = [known.client(seed, seen, until) for seed in range(CLIENTS)]
    watch = asyncio.create_task(_watch(seen, seconds / 20))
    await asyncio.gather(*clients)
    watch.cancel()
    stats = dict(engine.stats())
    await engine.close()
    kept = ("passes", "tokens_computed", "tokens_written", "rows_scored", "failures")
    return {
        "seconds": seconds,
        "clients": CLIENTS,
        "prompts": len(prompts),
        "requests": seen.requests,
        "given_up": seen.given_up,
        "errors": seen.errors,
        "crossed": seen.crossed,
        "other_tokens": seen.other_tokens,
        "rss": seen.rss,
        "engine": {name: stats.get(name, 0) for name in kept},
    }


async def _watch(seen: Seen, every: float) -> None:
    while True:
        seen.rss.append(psutil.Process().memory_info().rss)
        await asyncio.sleep(every)


class Known:
    """Every prompt's answers to every context, each asked for when nobody else asks."""

    def __init__(
        self, engine: LocalEngine, prompts: Sequence[Held], contexts: Sequence[Encoded]
    ) -> None:
        self._engine, self._prompts, self._contexts = engine, prompts, contexts
        self._scores: dict[tuple[str, int], list[float]] = {}
        self._texts: dict[tuple[str, int], list[int]] = {}

    async def learn(self) -> None:
        """Ask for all of them, one after the other."""
        for prompt in self._prompts:
            for number, context in enumerate(self._contexts):
                key = (prompt.digest, number)
                (self._scores[key],) = await self._engine.score([Scoring(prompt, context, WORDS)])
                self._texts[key] = await self._write(prompt, number)

    async def client(self, seed: int, seen: Seen, until: float) -> None:
        """Ask until the time is over."""
        chance = random.Random(seed)
        while time.monotonic() < until:
            prompt, number = chance.choice(self._prompts), chance.randrange(len(self._contexts))
            deed = chance.choices(
                (self._score, self._compare, self._stop, self._drop), (6, 3, 1, 1)
            )
            try:
                await deed[0](prompt, number, seen)
            except CuecardError as error:
                print(error, flush=True)
                seen.errors += 1
            seen.requests += 1

    async def _score(self, prompt: Held, number: int, seen: Seen) -> None:
        row = Scoring(prompt, self._contexts[number], WORDS)
        (found,) = await self._engine.score([row])
        distances = {
            digest: max(abs(a - b) for a, b in zip(found, scores, strict=True))
            for (digest, context), scores in self._scores.items()
            if context == number
        }
        own = distances.pop(prompt.digest)
        seen.crossed += own > _NEAR or own > min(distances.values())

    async def _compare(self, prompt: Held, number: int, seen: Seen) -> None:
        found = tuple(await self._write(prompt, number))
        if found == tuple(self._texts[prompt.digest, number]):
            return
        others = {
            tuple(text)
            for (digest, context), text in self._texts.items()
            if context == number and digest != prompt.digest
        }
        seen.crossed += found in others
        seen.other_tokens += found not in others

    async def _stop(self, prompt: Held, number: int, seen: Seen) -> None:
        seen.given_up += 1
        stream = self._engine.generate(self._asked(prompt, number))
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    async def _drop(self, prompt: Held, number: int, seen: Seen) -> None:
        await self._engine.drop(prompt.digest)
        await self._engine.hold(prompt)

    async def _write(self, prompt: Held, number: int) -> list[int]:
        asked = self._asked(prompt, number)
        return [item.id async for item in self._engine.generate(asked) if isinstance(item, Token)]

    def _asked(self, prompt: Held, number: int) -> Generation:
        context = self._contexts[number]
        return Generation(prompt, context.context, context.slot, Sampling(NEW_TOKENS))
