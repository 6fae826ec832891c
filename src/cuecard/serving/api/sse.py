"""Stream an answer as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from cuecard.serving.api.generation import GenerationPlan, TextDelta, stream_plans
from cuecard.serving.api.service import Service, usage
from cuecard.serving.http.context import RequestContext
from cuecard.serving.protocol.requests import GenerationRequest

Chunk = Callable[[int, TextDelta], dict[str, Any]]


async def sse_stream(
    service: Service,
    request: GenerationRequest,
    plans: Sequence[GenerationPlan],
    context: RequestContext,
    envelope: dict[str, Any],
    chunk: Chunk,
) -> AsyncGenerator[bytes, None]:
    """Chunks, then the usage if requested, then `[DONE]`.

    A failure is raised: `EventStream` makes an error response of one before the first chunk, and of
    a later one the last event.

    Args:
        plans: one for each prompt of the request.
        envelope: the fields of every chunk.
        chunk: makes a chunk's choice of its number among those of all prompts, and the delta.
    """
    options = request.stream_options
    with_usage = options is not None and options.include_usage
    no_usage = {"usage": None} if with_usage else {}
    async with aclosing(stream_plans(service.engine, plans, context)) as deltas:
        async for number, delta in deltas:
            yield sse_event({**envelope, "choices": [chunk(number, delta)], **no_usage})
    if with_usage:
        yield sse_event({**envelope, "choices": [], "usage": usage(context)})
    yield b"data: [DONE]\n\n"


def sse_event(content: dict[str, Any]) -> bytes:
    """An event with a JSON payload."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8") + b"\n\n"
