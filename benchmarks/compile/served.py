"""What a compiled text saves a server: time to the first token, and tokens written.

The text stands in every request, or its compiled prompt does. Common prefixes of requests are kept
by a server, so that the text is computed once: both with and without that are measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from benchmarks.serving.requests import generation
from cuecard.engine.local.engine import LocalEngine
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.protocol import Held, Token
from cuecard.training.compiling.full_text import FullText
from cuecard.types import Backbone, Encoded, Injection

T = TypeVar("T")

CACHED, ANEW = "full text, prefix kept", "full text, run anew"
_CLIENTS, _NEW = 16, 32


@dataclass(frozen=True)
class Asked:
    """How a text is put in front of requests.

    Attributes:
        prompt: what stands for it; None where it is in the rows.
        rows: the requests.
        caching: whether the server keeps common prefixes.
    """

    prompt: Held | None
    rows: Sequence[Encoded]
    caching: bool = True


def served(
    text: FullText, compiled: Mapping[str, Injection], rows: Sequence[Encoded], rounds: int = 3
) -> dict[str, dict[str, float]]:
    """Medians over rounds, by what stands in front: contestants take turns.

    Args:
        compiled: what stands for the text, by name.
        rows: requests without the text.

    Returns:
        Of each, `first_token_s` and `first_token_cpu_s` of a request alone, `tokens_per_cpu_s` of
        16 clients at once, and `positions` of the text in a request.
    """
    whole = [
        Encoded((*row.context[: row.slot], *text.ids, *row.context[row.slot :]), ()) for row in rows
    ]
    asked = {
        **{name: Asked(Held(name, each), rows) for name, each in compiled.items()},
        CACHED: Asked(None, whole),
        ANEW: Asked(None, whole, caching=False),
    }
    positions = {
        name: text.length if each.prompt is None else each.prompt.injection.length
        for name, each in asked.items()
    }
    found = asyncio.run(_measured(text.backbone, asked, rounds))
    return {name: {"positions": positions[name], **each} for name, each in found.items()}


async def _measured(
    backbone: Backbone, asked: Mapping[str, Asked], rounds: int
) -> dict[str, dict[str, float]]:
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, each in asked.items():
            engine = LocalEngine(backbone, LocalSettings(prefix_caching=each.caching))
            await engine.start()
            try:
                await _written(engine, each, each.rows[:1], 1)  # what is kept is kept by now
                _, wall, cpu = await _timed(_alone(engine, each))
                tokens, _, busy = await _timed(_written(engine, each, each.rows, _NEW))
            finally:
                await engine.close()
            count = len(each.rows)
            seen[name].append((wall / count, cpu / count, tokens / busy))
    names = ("first_token_s", "first_token_cpu_s", "tokens_per_cpu_s")
    return {
        name: dict(zip(names, map(median, zip(*each, strict=True)), strict=True))
        for name, each in seen.items()
    }


async def _alone(engine: LocalEngine, asked: Asked) -> None:
    """The first token of each request, one request at a time."""
    for row in asked.rows:
        await _written(engine, asked, [row], 1)


async def _written(engine: LocalEngine, asked: Asked, rows: Sequence[Encoded], tokens: int) -> int:
    """How many tokens the answers have."""
    turn = asyncio.Semaphore(_CLIENTS)

    async def one(row: Encoded) -> int:
        async with turn:
            answer = engine.generate(generation(asked.prompt, row, tokens))
            return sum([isinstance(item, Token) async for item in answer])

    return sum(await asyncio.gather(*map(one, rows)))


async def _timed(work: Awaitable[T]) -> tuple[T, float, float]:
    """What it gives, its seconds, and CPU-seconds of the process."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = await work
    return found, time.perf_counter() - wall, time.process_time() - cpu
