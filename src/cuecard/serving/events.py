"""An answer as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from cuecard.errors import CuecardError
from cuecard.serving.faults import as_refusal
from cuecard.serving.requests import Generating
from cuecard.serving.service import Service, usage
from cuecard.serving.visit import Visit
from cuecard.serving.writing import Job, Piece, all_pieces

Chunk = Callable[[int, Piece], dict[str, Any]]


async def events(
    service: Service,
    request: Generating,
    jobs: Sequence[Job],
    visit: Visit,
    head: dict[str, Any],
    chunk: Chunk,
) -> AsyncGenerator[bytes, None]:
    """Chunks, the end, the usage if it is asked for, and the mark that all has come.

    What fails before the first chunk is raised, to become an answer with a status of its own; later
    it is an event, and the mark does not come.

    Args:
        jobs: one for each prompt of the request.
        head: what every chunk begins with.
        chunk: the number of a choice among those of all prompts, and more of it -> the chunk's
            only choice.
    """
    options = request.stream_options
    with_usage = options is not None and options.include_usage
    usual = {"usage": None} if with_usage else {}
    begun = False
    try:
        async with aclosing(all_pieces(service.engine, jobs, visit)) as made:
            async for number, piece in made:
                begun = True
                yield event({**head, "choices": [chunk(number, piece)], **usual})
    except CuecardError as error:
        if not begun:
            raise
        yield event(as_refusal(error).body)
        return
    if with_usage:
        yield event({**head, "choices": [], "usage": usage(visit)})
    yield b"data: [DONE]\n\n"


def event(content: dict[str, Any]) -> bytes:
    """An event that holds JSON."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8") + b"\n\n"
