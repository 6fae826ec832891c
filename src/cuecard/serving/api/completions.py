"""`/v1/completions`."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import accumulate, chain
from typing import Any

from cuecard.engine.protocol import Token
from cuecard.serving.api.contexts import raw_row, task_row
from cuecard.serving.api.events import events
from cuecard.serving.api.service import Service, check_choices, template_fields, usage
from cuecard.serving.api.writing import GenerationPlan, Piece, together, write
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import bad_request
from cuecard.serving.protocol.requests import CompletionRequest
from cuecard.serving.settings import Limits
from cuecard.types import Encoded

USUAL_TOKENS = 16


async def complete(
    service: Service, request: CompletionRequest, context: RequestContext
) -> dict[str, Any]:
    """A completion of every text that was given.

    Raises:
        APIError: what cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    texts = _texts(request, service.limits)
    with service.catalog.acquire(request.model) as served:
        plans = await _jobs(service, request, served, texts, context)
        done = await together([write(service.engine, plan, context) for plan in plans])
        choices = [
            {
                "index": index,
                "text": generated.text,
                "logprobs": _logprobs(service, request, generated.tokens),
                "finish_reason": generated.reason,
            }
            for index, generated in enumerate(chain.from_iterable(done))
        ]
        head = service.head("cmpl-", "text_completion", served)
        return {**head, "choices": choices, "usage": usage(context)}


async def complete_stream(
    service: Service, request: CompletionRequest, context: RequestContext
) -> AsyncGenerator[bytes, None]:
    """A completion of one text as server-sent events.

    Raises:
        APIError: what cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    texts = _texts(request, service.limits)
    if len(texts) > 1:
        raise bad_request("A stream carries one prompt.", "prompt", "unsupported")
    with service.catalog.acquire(request.model) as served:
        (plan,) = await _jobs(service, request, served, texts, context)
        head = service.head("cmpl-", "text_completion", served)

        ends: Counter[int] = Counter()

        def chunk(index: int, piece: Piece) -> dict[str, Any]:
            found = _logprobs(service, request, piece.tokens, ends[index])
            ends[index] += sum(map(len, found["tokens"])) if found else 0
            return {
                "index": index,
                "text": piece.text,
                "logprobs": found if piece.tokens else None,
                "finish_reason": piece.reason,
            }

        async with aclosing(events(service, request, plan, context, head, chunk)) as made:
            async for event in made:
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
        wanted=request.max_tokens,
        usual=USUAL_TOKENS,
        top_logprobs=request.logprobs or 0,
    )


def _row(
    service: Service, request: CompletionRequest, served: ServedPrompt | None, text: str | None
) -> Encoded:
    tokenizer = service.engine.tokenizer
    if served is None or request.raw:
        if text is None or request.fields is not None:
            raise bad_request("There is no template to fill; give a prompt.", "prompt")
        return raw_row(served, text, tokenizer)
    return task_row(served, template_fields(served, text, request), tokenizer)


def _texts(request: CompletionRequest, limits: Limits) -> list[str | None]:
    prompt = request.prompt
    texts: list[str | None] = [*prompt] if isinstance(prompt, list) else [prompt]
    check_choices(len(texts), request, limits, "prompt")
    return texts


def _logprobs(
    service: Service, request: CompletionRequest, tokens: Sequence[Token], start: int = 0
) -> dict[str, Any] | None:
    """Of tokens whose text begins at a place of the answer."""
    if request.logprobs is None:
        return None

    def text_of(token: int) -> str:
        return str(service.engine.tokenizer.decode([token]))

    texts = [text_of(token.id) for token in tokens]
    tops = [
        # The likeliest comes last, for where two tokens have one text.
        {text_of(each): log for each, log in reversed([*token.top, (token.id, token.logprob)])}
        for token in tokens
    ]
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": tops if request.logprobs else None,
        "text_offset": [*accumulate(map(len, texts[:-1]), initial=start)] if texts else [],
    }
