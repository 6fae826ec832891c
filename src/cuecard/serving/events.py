"""An answer as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from cuecard.errors import CuecardError
from cuecard.serving.faults import as_refusal
from cuecard.serving.refusals import bad_request
from cuecard.serving.requests import Generating
from cuecard.serving.service import Service, asks_logprobs, usage
from cuecard.serving.visit import Visit
from cuecard.serving.writing import Job, Written, pieces

Chunk = Callable[[str, str | None], dict[str, Any]]


def check_stream(request: Generating) -> None:
    """Refuse what a stream does not carry.

    Raises:
        Refusal: log-probabilities.
    """
    if asks_logprobs(request):
        raise bad_request("A stream carries no log-probabilities.", "logprobs", "unsupported")


async def events(
    service: Service,
    request: Generating,
    job: Job,
    visit: Visit,
    head: dict[str, Any],
    chunk: Chunk,
) -> AsyncGenerator[bytes, None]:
    """Chunks, the end, the usage if it is asked for, and the mark that all has come.

    What fails before the first chunk is raised, to become an answer with a status of its own; later
    it is an event, and the mark does not come.

    Args:
        head: what every chunk begins with.
        chunk: a piece of text, or the reason of the end -> the chunk's only choice.
    """
    options = request.stream_options
    with_usage = options is not None and options.include_usage
    usual = {"usage": None} if with_usage else {}
    written, begun = Written(), False
    try:
        async with aclosing(pieces(service.engine, job, written, visit)) as texts:
            async for text in texts:
                begun = True
                yield _event({**head, "choices": [chunk(text, None)], **usual})
    except CuecardError as error:
        if not begun:
            raise
        yield _event(as_refusal(error).body)
        return
    yield _event({**head, "choices": [chunk("", written.reason)], **usual})
    if with_usage:
        yield _event({**head, "choices": [], "usage": usage(visit)})
    yield b"data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8") + b"\n\n"
