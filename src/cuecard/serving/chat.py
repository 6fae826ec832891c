"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from cuecard.serving.contexts import chat_row, only_message, task_row
from cuecard.serving.events import check_stream, events
from cuecard.serving.refusals import bad_request
from cuecard.serving.requests import ChatRequest
from cuecard.serving.service import Service, template_fields, usage
from cuecard.serving.shelf import Served
from cuecard.serving.visit import Visit
from cuecard.serving.writing import Job, Written, write
from cuecard.types import Encoded

USUAL_TOKENS = 256


async def chat(service: Service, request: ChatRequest, visit: Visit) -> dict[str, Any]:
    """The assistant's next message.

    Raises:
        Refusal: what cannot be answered.
    """
    visit.allow(request.model)
    with service.shelf.using(request.model) as served:
        job = await _job(service, request, served, visit)
        written = await write(service.engine, job, visit)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": written.text, "refusal": None},
            "logprobs": _logprobs(service, written) if request.logprobs else None,
            "finish_reason": written.reason,
        }
        head = service.head("chatcmpl-", "chat.completion", served)
        return {**head, "choices": [choice], "usage": usage(visit)}


async def chat_stream(
    service: Service, request: ChatRequest, visit: Visit
) -> AsyncGenerator[bytes, None]:
    """The assistant's next message as server-sent events.

    Raises:
        Refusal: what cannot be answered.
    """
    visit.allow(request.model)
    check_stream(request)
    with service.shelf.using(request.model) as served:
        job = await _job(service, request, served, visit)
        head = service.head("chatcmpl-", "chat.completion.chunk", served)
        first: dict[str, Any] = {"role": "assistant"}

        def chunk(text: str, reason: str | None) -> dict[str, Any]:
            delta = {**first, "content": text} if reason is None else {**first}
            first.clear()
            return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}

        async with aclosing(events(service, request, job, visit, head, chunk)) as made:
            async for event in made:
                yield event


async def _job(service: Service, request: ChatRequest, served: Served | None, visit: Visit) -> Job:
    (job,) = await service.jobs(
        request,
        served,
        [message.text for message in request.messages],
        lambda: [_row(service, request, served)],
        visit,
        wanted=request.max_completion_tokens or request.max_tokens,
        usual=USUAL_TOKENS,
    )
    return job


def _row(service: Service, request: ChatRequest, served: Served | None) -> Encoded:
    tokenizer = service.engine.tokenizer
    if served is None or request.raw:
        if request.fields is not None:
            raise bad_request("There is no template to fill.", "fields", "invalid_fields")
        return chat_row(served, request.messages, tokenizer)
    text = only_message(served, request.messages)
    return task_row(served, template_fields(served, text, request), tokenizer)


def _logprobs(service: Service, written: Written) -> dict[str, Any]:
    content = []
    for token in written.tokens:
        text = str(service.engine.tokenizer.decode([token.id]))
        content.append(
            {
                "token": text,
                "bytes": list(text.encode("utf-8")),
                "logprob": token.logprob,
                "top_logprobs": [],
            }
        )
    return {"content": content, "refusal": None}
