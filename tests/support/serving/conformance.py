"""What every engine owes its callers: each answer is the one got alone, whatever else goes on.

Plain coroutines over an engine and its cases, for tests of any engine and for benchmarks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from cuecard.engine.protocol import (
    Engine,
    Finished,
    Generates,
    Generation,
    Held,
    Sampling,
    Scores,
    Token,
)
from support.serving.cases import Case


@dataclass
class Tally:
    """What came of many requests.

    Attributes:
        asked: requests by kind.
        moves: prompts held and dropped meanwhile.
        crossed: answers that another prompt gives to the same question.
        wrong: other answers than the one got alone, crossed ones left out.
        worst: the largest difference of a score to the one got alone.
    """

    asked: dict[str, int] = field(default_factory=lambda: {"score": 0, "write": 0, "cancel": 0})
    moves: int = 0
    crossed: int = 0
    wrong: int = 0
    worst: float = 0.0

    @property
    def requests(self) -> int:
        """All kinds together."""
        return sum(self.asked.values())


async def scored(engine: Scores, cases: Sequence[Case]) -> float:
    """The largest difference of a score to the one got alone, all cases in one call."""
    found = await engine.score([case.scoring() for case in cases])
    return max(_difference(scores, case) for scores, case in zip(found, cases, strict=True))


async def written(
    engine: Generates, request: Generation, most: int | None = None
) -> tuple[list[int], str | None]:
    """Tokens and how it ended; None where it was cancelled after `most` tokens."""
    tokens: list[int] = []
    stream: Any = engine.generate(request)
    async with aclosing(stream) as pieces:
        async for piece in pieces:
            if isinstance(piece, Finished):
                return tokens, piece.reason
            assert isinstance(piece, Token) and piece.logprob <= 0
            tokens.append(piece.id)
            if most is not None and len(tokens) >= most:
                return tokens, None
    raise AssertionError("a stream ended without saying why")


async def told(stream: Any) -> tuple[list[int], str]:
    """Tokens of a choice and how it ended."""
    tokens: list[int] = []
    async with aclosing(stream) as pieces:
        async for piece in pieces:
            if isinstance(piece, Finished):
                return tokens, piece.reason
            tokens.append(piece.id)
    raise AssertionError("a choice ended without saying why")


async def tokens_of(engine: Generates, request: Generation) -> list[Token]:
    """Tokens with all that is told of them."""
    stream: Any = engine.generate(request)
    async with aclosing(stream) as pieces:
        return [piece async for piece in pieces if isinstance(piece, Token)]


async def wrongly_written(engine: Generates, cases: Sequence[Case]) -> list[Case]:
    """Cases, all written at once, whose tokens are not those got alone."""
    return [case for case, _ in await other_texts(engine, cases)]


async def other_texts(engine: Generates, cases: Sequence[Case]) -> list[tuple[Case, list[int]]]:
    """Those, each with what was written."""
    found = await asyncio.gather(*(written(engine, case.generation()) for case in cases))
    return [
        (case, tokens)
        for case, (tokens, _) in zip(cases, found, strict=True)
        if tuple(tokens) != case.answer
    ]


async def drawn(engine: Generates, cases: Sequence[Case], seed: int) -> list[list[int]]:
    """Seeded draws of every case, all at once."""
    sampling = Sampling(8, temperature=1.0, top_p=0.9, seed=seed)
    found = await asyncio.gather(*(written(engine, c.generation(sampling)) for c in cases))
    return [tokens for tokens, _ in found]


async def churned(
    engine: Engine,
    cases: Sequence[Case],
    *,
    requests: int,
    clients: int = 64,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Tally:
    """Many clients at once, while prompts come and go and clients hang up.

    A request begins while its prompt is held, and may end after it was dropped.
    """
    tally, shelf = Tally(), _Shelf(engine, cases)
    await shelf.fill()
    left = iter(range(requests))

    async def client(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        for _ in left:
            if rng.random() < 0.05:
                tally.moves += await shelf.move(rng)
            await _one(engine, shelf, tally, rng, tolerance)

    await asyncio.gather(*(client(number) for number in range(clients)))
    await shelf.empty()
    return tally


class _Shelf:
    """The prompts that are held, of those that the cases have; never fewer than half."""

    def __init__(self, engine: Engine, cases: Sequence[Case]) -> None:
        self._engine, self._cases = engine, cases
        self._prompts: dict[str, Held] = {c.prompt.digest: c.prompt for c in cases if c.prompt}
        self._held: set[str] = set()
        self._moving: set[str] = set()

    async def fill(self) -> None:
        for digest, prompt in self._prompts.items():
            await self._engine.hold(prompt)
            self._held.add(digest)

    async def empty(self) -> None:
        for digest in self._held:
            await self._engine.drop(digest)

    async def move(self, rng: random.Random) -> int:
        """Hold or drop one prompt."""
        free = sorted(set(self._prompts) - self._moving)
        digest = rng.choice(free)
        self._moving.add(digest)
        try:
            if digest not in self._held:
                await self._engine.hold(self._prompts[digest])
                self._held.add(digest)
            elif len(self._held) > len(self._prompts) // 2:
                self._held.remove(digest)
                await self._engine.drop(digest)
            else:
                return 0
        finally:
            self._moving.remove(digest)
        return 1

    def some(self, rng: random.Random, count: int) -> list[Case]:
        """Cases that may be asked now."""
        open_now = [c for c in self._cases if c.digest is None or c.digest in self._held]
        return rng.sample(open_now, min(count, len(open_now)))

    def others(self, case: Case) -> list[Case]:
        """The same question under other prompts."""
        return [c for c in self._cases if c.key == case.key and c.digest != case.digest]


async def _one(
    engine: Engine, shelf: _Shelf, tally: Tally, rng: random.Random, tolerance: float
) -> None:
    kind = rng.choices(("score", "write", "cancel"), (5, 3, 2))[0]
    tally.asked[kind] += 1
    if kind == "score":
        cases = shelf.some(rng, rng.randint(1, 4))
        found = await engine.score([case.scoring() for case in cases])
        for scores, case in zip(found, cases, strict=True):
            _judge_scores(tally, scores, case, shelf, tolerance)
        return
    (case,) = shelf.some(rng, 1)
    most = rng.randint(1, 6) if kind == "cancel" else None
    tokens, reason = await written(engine, case.generation(), most)
    if tuple(tokens) == (case.answer[: len(tokens)] if reason is None else case.answer):
        return
    if any(tuple(tokens) == other.answer[: len(tokens)] for other in shelf.others(case)):
        tally.crossed += 1
    else:
        tally.wrong += 1


def _judge_scores(
    tally: Tally, scores: Sequence[float], case: Case, shelf: _Shelf, tolerance: float
) -> None:
    off = _difference(scores, case)
    tally.worst = max(tally.worst, off)
    if off <= tolerance:
        return
    if any(_difference(scores, other) <= tolerance for other in shelf.others(case)):
        tally.crossed += 1
    else:
        tally.wrong += 1


def _difference(scores: Sequence[float], case: Case) -> float:
    return max(abs(a - b) for a, b in zip(scores, case.scores, strict=True))
