"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from cuecard.serving.contexts import chat_row, only_message, task_row
from cuecard.serving.engine import Token
from cuecard.serving.events import events
from cuecard.serving.refusals import bad_request
from cuecard.serving.requests import ChatRequest
from cuecard.serving.service import Service, check_choices, template_fields, usage
from cuecard.serving.shelf import Served
from cuecard.serving.token_bytes import token_bytes
from cuecard.serving.visit import Visit
from cuecard.serving.writing import Job, Piece, write
from cuecard.types import Encoded

USUAL_TOKENS = 256


async def chat(service: Service, request: ChatRequest, visit: Visit) -> dict[str, Any]:
    """The assistant's next message.

    Raises:
        Refusal: what cannot be answered.
    """
    visit.allow(request.model, service.shelf.backbone, raw=request.raw)
    with service.shelf.using(request.model) as served:
        job = await chat_job(service, request, served, visit)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": written.text, "refusal": None},
                "logprobs": _logprobs(service, request, written.tokens),
                "finish_reason": written.reason,
            }
            for index, written in enumerate(await write(service.engine, job, visit))
        ]
        head = service.head("chatcmpl-", "chat.completion", served)
        return {**head, "choices": choices, "usage": usage(visit)}


async def chat_stream(
    service: Service, request: ChatRequest, visit: Visit
) -> AsyncGenerator[bytes, None]:
    """The assistant's next message as server-sent events.

    Raises:
        Refusal: what cannot be answered.
    """
    visit.allow(request.model, service.shelf.backbone, raw=request.raw)
    with service.shelf.using(request.model) as served:
        job = await chat_job(service, request, served, visit)
        head = service.head("chatcmpl-", "chat.completion.chunk", served)
        begun: set[int] = set()

        def chunk(index: int, piece: Piece) -> dict[str, Any]:
            delta = {} if index in begun else {"role": "assistant"}
            begun.add(index)
            if piece.reason is None:
                delta["content"] = piece.text
            return {
                "index": index,
                "delta": delta,
                "logprobs": _logprobs(service, request, piece.tokens) if piece.tokens else None,
                "finish_reason": piece.reason,
            }

        async with aclosing(events(service, request, [job], visit, head, chunk)) as made:
            async for event in made:
                yield event


async def chat_job(
    service: Service, request: ChatRequest, served: Served | None, visit: Visit
) -> Job:
    """What a chat's request asks for.

    Raises:
        Refusal: what cannot be answered.
    """
    check_choices(1, request, service.limits, "messages")
    if request.top_logprobs and not request.logprobs:
        raise bad_request("top_logprobs needs logprobs: true.", "top_logprobs")
    (job,) = await service.jobs(
        request,
        served,
        [message.text for message in request.messages],
        lambda: [_row(service, request, served)],
        visit,
        wanted=request.max_completion_tokens or request.max_tokens,
        usual=USUAL_TOKENS,
        top_logprobs=request.top_logprobs or 0,
    )
    return job


def _row(service: Service, request: ChatRequest, served: Served | None) -> Encoded:
    tokenizer = service.engine.tokenizer
    if served is None or request.raw:
        if request.fields is not None:
            raise bad_request("There is no template to fill.", "fields", "invalid_fields")
        return chat_row(served, request.messages, tokenizer)
    text = only_message(served, request.messages, service.system_messages)
    return task_row(served, template_fields(served, text, request), tokenizer)


def logprobs_of(service: Service, tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Tokens with their log-probabilities and those of the likeliest in each place."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        tokenizer = service.engine.tokenizer
        text, content = str(tokenizer.decode([token])), token_bytes(tokenizer, token)
        return {"token": text, "bytes": list(content), "logprob": logprob}

    return [
        {**entry(token.id, token.logprob), "top_logprobs": [entry(*each) for each in token.top]}
        for token in tokens
    ]


def _logprobs(
    service: Service, request: ChatRequest, tokens: Sequence[Token]
) -> dict[str, Any] | None:
    if not request.logprobs:
        return None
    return {"content": logprobs_of(service, tokens), "refusal": None}
