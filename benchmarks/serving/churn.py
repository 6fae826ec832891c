"""Clients that ask for anything while prompts come and go; every answer is known beforehand."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil

from cuecard.engine.protocol import Engine, Generation, Held, Sampling, Scoring, Token
from cuecard.errors import CuecardError
from cuecard.types import Encoded

Answer = TypeVar("Answer")

CLIENTS, NEW_TOKENS = 64, 8
WORDS = ((100,), (200,), (300,))
_NEAR = 1e-4  # in float32, where a batch only changes the order of sums


@dataclass
class Seen:
    """What has happened."""

    requests: int = 0
    given_up: int = 0
    errors: int = 0
    crossed: int = 0
    other: int = 0
    rss: list[int] = field(default_factory=list)

    def wrong(self, *, crossed: bool) -> None:
        """An answer is not the one got alone."""
        self.crossed += crossed
        self.other += not crossed


async def churn(
    engine: Engine, prompts: Sequence[Held], contexts: Sequence[Encoded], seconds: float
) -> dict[str, Any]:
    """So many seconds of it.

    An answer that is not the one got alone is `crossed` if another prompt gives it, else `other`.
    In bfloat16, where two words that are as likely as each other change places with the batch's
    shape, neither says much.
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
        "other": seen.other,
        "nearest_prompts": known.nearest(),
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
        self, engine: Engine, prompts: Sequence[Held], contexts: Sequence[Encoded]
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
        if not _apart(found, self._scores[prompt.digest, number]) <= _NEAR:
            others = self._of_others(self._scores, prompt, number)
            seen.wrong(crossed=any(_apart(found, scores) <= _NEAR for scores in others))

    async def _compare(self, prompt: Held, number: int, seen: Seen) -> None:
        found = await self._write(prompt, number)
        if found != self._texts[prompt.digest, number]:
            seen.wrong(crossed=found in self._of_others(self._texts, prompt, number))

    def nearest(self) -> float:
        """The least that two prompts' scores of a context are apart: no answer is two prompts'."""
        return min(
            _apart(scores, other)
            for (digest, number), scores in self._scores.items()
            for (rival, context), other in self._scores.items()
            if context == number and rival != digest
        )

    def _of_others(
        self, known: Mapping[tuple[str, int], Answer], prompt: Held, number: int
    ) -> list[Answer]:
        return [
            answer
            for (digest, context), answer in known.items()
            if context == number and digest != prompt.digest
        ]

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


def _apart(scores: Sequence[float], others: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(scores, others, strict=True))
