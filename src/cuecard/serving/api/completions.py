"""`/v1/completions`: text completions."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import accumulate
from typing import Any

from cuecard.engine.protocol import Token
from cuecard.serving.api.generation import GenerationPlan, TextDelta, generate
from cuecard.serving.api.inputs import encode_raw, encode_record
from cuecard.serving.api.service import Service, check_choices, template_fields, usage
from cuecard.serving.api.sse import sse_stream
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import bad_request
from cuecard.serving.protocol.requests import CompletionRequest
from cuecard.serving.settings import Limits
from cuecard.types import Encoded

DEFAULT_MAX_TOKENS = 16


async def complete(
    service: Service, request: CompletionRequest, context: RequestContext
) -> dict[str, Any]:
    """A completion of every text.

    Raises:
        APIError: the request cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    texts = _texts(request, service.limits)
    with service.catalog.acquire(request.model) as served:
        plans = await _jobs(service, request, served, texts, context)
        choices = [
            {
                "index": index,
                "text": generated.text,
                "logprobs": _logprobs(service, request, generated.tokens),
                "finish_reason": generated.reason,
            }
            for index, generated in enumerate(await generate(service.engine, plans, context))
        ]
        envelope = service.envelope("cmpl-", "text_completion", served)
        return {**envelope, "choices": choices, "usage": usage(context)}


async def complete_stream(
    service: Service, request: CompletionRequest, context: RequestContext
) -> AsyncGenerator[bytes, None]:
    """Completions of every prompt as server-sent events.

    Raises:
        APIError: the request cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    texts = _texts(request, service.limits)
    with service.catalog.acquire(request.model) as served:
        plans = await _jobs(service, request, served, texts, context)
        envelope = service.envelope("cmpl-", "text_completion", served)
        offsets: Counter[int] = Counter()

        def chunk(index: int, delta: TextDelta) -> dict[str, Any]:
            found = _logprobs(service, request, delta.tokens, offsets[index])
            offsets[index] += sum(map(len, found["tokens"])) if found else 0
            return {
                "index": index,
                "text": delta.text,
                "logprobs": found if delta.tokens else None,
                "finish_reason": delta.reason,
            }

        stream = sse_stream(service, request, plans, context, envelope, chunk)
        async with aclosing(stream) as events:
            async for event in events:
                yield event


async def _jobs(
    service: Service,
    request: CompletionRequest,
    served: ServedPrompt | None,
    texts: list[str | None],
    context: RequestContext,
) -> list[GenerationPlan]:
    return await service.plans(
        request,
        served,
        [text for text in texts if text is not None],
        lambda: [_row(service, request, served, text) for text in texts],
        context,
        max_tokens=request.max_tokens,
        default_max_tokens=DEFAULT_MAX_TOKENS,
        top_logprobs=request.logprobs or 0,
    )


def _row(
    service: Service, request: CompletionRequest, served: ServedPrompt | None, text: str | None
) -> Encoded:
    tokenizer = service.engine.tokenizer
    if served is None or request.raw:
        if text is None or request.fields is not None:
            raise bad_request("Without a template there are no fields: give a prompt.", "prompt")
        return encode_raw(served, text, tokenizer)
    return encode_record(served, template_fields(served, text, request), tokenizer)


def _texts(request: CompletionRequest, limits: Limits) -> list[str | None]:
    prompt = request.prompt
    texts: list[str | None] = [*prompt] if isinstance(prompt, list) else [prompt]
    check_choices(len(texts), request, limits, "prompt")
    return texts


def _logprobs(
    service: Service, request: CompletionRequest, tokens: Sequence[Token], start: int = 0
) -> dict[str, Any] | None:
    """The `logprobs` of tokens whose text begins at offset `start` of the answer."""
    if request.logprobs is None:
        return None

    def text_of(token: int) -> str:
        return str(service.engine.tokenizer.decode([token]))

    texts = [text_of(token.id) for token in tokens]
    tops = [
        # The likeliest comes last: it wins if two tokens have the same text.
        {text_of(each): log for each, log in reversed([*token.top, (token.id, token.logprob)])}
        for token in tokens
    ]
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": tops if request.logprobs else None,
        "text_offset": [*accumulate(map(len, texts[:-1]), initial=start)] if texts else [],
    }
