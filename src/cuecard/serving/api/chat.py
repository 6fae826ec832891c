"""`/v1/chat/completions`: chat completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from cuecard.engine.protocol import Token
from cuecard.engine.token_bytes import token_bytes
from cuecard.serving.api.generation import GenerationPlan, TextDelta, generate
from cuecard.serving.api.inputs import encode_chat, encode_record, user_message
from cuecard.serving.api.service import Service, check_choices, template_fields, usage
from cuecard.serving.api.sse import sse_stream
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import bad_request
from cuecard.serving.protocol.requests import ChatRequest
from cuecard.types import Encoded

DEFAULT_MAX_TOKENS = 256


async def chat(service: Service, request: ChatRequest, context: RequestContext) -> dict[str, Any]:
    """The assistant's message.

    Raises:
        APIError: the request cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    with service.catalog.acquire(request.model) as served:
        plan = await plan_chat(service, request, served, context)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": generated.text, "refusal": None},
                "logprobs": _logprobs(service, request, generated.tokens),
                "finish_reason": generated.reason,
            }
            for index, generated in enumerate(await generate(service.engine, [plan], context))
        ]
        envelope = service.envelope("chatcmpl-", "chat.completion", served)
        return {**envelope, "choices": choices, "usage": usage(context)}


async def chat_stream(
    service: Service, request: ChatRequest, context: RequestContext
) -> AsyncGenerator[bytes, None]:
    """The assistant's message as server-sent events.

    Raises:
        APIError: the request cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    with service.catalog.acquire(request.model) as served:
        plan = await plan_chat(service, request, served, context)
        envelope = service.envelope("chatcmpl-", "chat.completion.chunk", served)
        started: set[int] = set()

        def chunk(index: int, new: TextDelta) -> dict[str, Any]:
            delta = {} if index in started else {"role": "assistant"}
            started.add(index)
            if new.reason is None:
                delta["content"] = new.text
            return {
                "index": index,
                "delta": delta,
                "logprobs": _logprobs(service, request, new.tokens) if new.tokens else None,
                "finish_reason": new.reason,
            }

        stream = sse_stream(service, request, [plan], context, envelope, chunk)
        async with aclosing(stream) as events:
            async for event in events:
                yield event


async def plan_chat(
    service: Service, request: ChatRequest, served: ServedPrompt | None, context: RequestContext
) -> GenerationPlan:
    """What to generate for a chat request.

    Raises:
        APIError: the request cannot be answered.
    """
    check_choices(1, request, service.limits, "messages")
    if request.top_logprobs and not request.logprobs:
        raise bad_request("top_logprobs requires logprobs: true.", "top_logprobs")
    (plan,) = await service.plans(
        request,
        served,
        [message.text for message in request.messages],
        lambda: [_row(service, request, served)],
        context,
        max_tokens=request.max_completion_tokens or request.max_tokens,
        default_max_tokens=DEFAULT_MAX_TOKENS,
        top_logprobs=request.top_logprobs or 0,
    )
    return plan


def _row(service: Service, request: ChatRequest, served: ServedPrompt | None) -> Encoded:
    tokenizer = service.engine.tokenizer
    if served is None or request.raw:
        if request.fields is not None:
            raise bad_request("Without a template there are no fields.", "fields", "invalid_fields")
        return encode_chat(served, request.messages, tokenizer)
    text = user_message(served, request.messages, service.system_messages)
    return encode_record(served, template_fields(served, text, request), tokenizer)


def logprobs_of(service: Service, tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Tokens with their log-probabilities and the likeliest tokens per position."""

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
