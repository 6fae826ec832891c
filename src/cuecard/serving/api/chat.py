"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from cuecard.engine.protocol import Token
from cuecard.engine.token_bytes import token_bytes
from cuecard.serving.api.contexts import chat_row, only_message, task_row
from cuecard.serving.api.events import events
from cuecard.serving.api.service import Service, check_choices, template_fields, usage
from cuecard.serving.api.writing import GenerationPlan, Piece, write
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import bad_request
from cuecard.serving.protocol.requests import ChatRequest
from cuecard.types import Encoded

USUAL_TOKENS = 256


async def chat(service: Service, request: ChatRequest, context: RequestContext) -> dict[str, Any]:
    """The assistant's next message.

    Raises:
        APIError: what cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    with service.catalog.acquire(request.model) as served:
        plan = await chat_job(service, request, served, context)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": generated.text, "refusal": None},
                "logprobs": _logprobs(service, request, generated.tokens),
                "finish_reason": generated.reason,
            }
            for index, generated in enumerate(await write(service.engine, plan, context))
        ]
        head = service.head("chatcmpl-", "chat.completion", served)
        return {**head, "choices": choices, "usage": usage(context)}


async def chat_stream(
    service: Service, request: ChatRequest, context: RequestContext
) -> AsyncGenerator[bytes, None]:
    """The assistant's next message as server-sent events.

    Raises:
        APIError: what cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    with service.catalog.acquire(request.model) as served:
        plan = await chat_job(service, request, served, context)
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

        async with aclosing(events(service, request, plan, context, head, chunk)) as made:
            async for event in made:
                yield event


async def chat_job(
    service: Service, request: ChatRequest, served: ServedPrompt | None, context: RequestContext
) -> GenerationPlan:
    """What a chat's request asks for.

    Raises:
        APIError: what cannot be answered.
    """
    check_choices(1, request, service.limits, "messages")
    if request.top_logprobs and not request.logprobs:
        raise bad_request("top_logprobs needs logprobs: true.", "top_logprobs")
    (plan,) = await service.plans(
        request,
        served,
        [message.text for message in request.messages],
        lambda: [_row(service, request, served)],
        context,
        wanted=request.max_completion_tokens or request.max_tokens,
        usual=USUAL_TOKENS,
        top_logprobs=request.top_logprobs or 0,
    )
    return plan


def _row(service: Service, request: ChatRequest, served: ServedPrompt | None) -> Encoded:
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
