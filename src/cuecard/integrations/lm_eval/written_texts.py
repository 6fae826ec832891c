"""Texts that a backbone writes after others, all at once, by the local engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from cuecard.engine.local.engine import LocalEngine
from cuecard.engine.protocol import Finished, Generation, Held, Sampling, Token
from cuecard.engine.text_stream import TextStream
from cuecard.evaluation.loglikelihood import OnRows
from cuecard.types import Backbone, Encoded


@dataclass(frozen=True, slots=True)
class TextRequest:
    """A text to continue.

    Attributes:
        context: the text.
        sampling: how tokens are chosen, and how many at most.
        stops: texts that end the answer; none of them is in it.
    """

    context: str
    sampling: Sampling
    stops: tuple[str, ...] = ()


def write_texts(
    backbone: Backbone,
    held: Held | None,
    requests: Sequence[TextRequest],
    rows: Sequence[Encoded],
    on_rows: OnRows | None = None,
) -> list[str]:
    """Each request's text, up to the first of its stops.

    Args:
        held: the prompt; None for the backbone alone.
        rows: the requests' contexts.
        on_rows: called with 1 after each text.

    Raises:
        CuecardError: a request that does not fit.
    """
    # A loop of its own, also where this is called within one, as in a notebook.
    with ThreadPoolExecutor(1) as thread:
        work = _written(backbone, held, requests, rows, on_rows)
        return thread.submit(asyncio.run, work).result()


async def _written(
    backbone: Backbone,
    held: Held | None,
    requests: Sequence[TextRequest],
    rows: Sequence[Encoded],
    on_rows: OnRows | None,
) -> list[str]:
    engine = LocalEngine(backbone)
    await engine.start()

    async def one(request: TextRequest, row: Encoded) -> str:
        text = await _continued(engine, held, row, request)
        if on_rows is not None:
            on_rows(1)
        return text

    try:
        if held is not None:
            await engine.hold(held)
        return await asyncio.gather(*map(one, requests, rows))
    finally:
        await engine.close()


async def _continued(
    engine: LocalEngine, held: Held | None, row: Encoded, request: TextRequest
) -> str:
    """One text; its work ends with the first stop."""
    stream, text = TextStream(engine.tokenizer, request.stops), ""
    generation = engine.generate(Generation(held, row.context, row.slot, request.sampling))
    async with aclosing(cast("AsyncGenerator[Token | Finished, None]", generation)) as tokens:
        async for token in tokens:
            if isinstance(token, Finished):
                break
            text += stream.add(token.id)
            if stream.stopped:
                break
    return text + stream.end()
