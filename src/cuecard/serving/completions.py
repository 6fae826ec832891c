"""`/v1/completions`."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import accumulate, chain
from typing import Any

from cuecard.serving.contexts import raw_row, task_row
from cuecard.serving.engine import Token
from cuecard.serving.events import events
from cuecard.serving.limits import Limits
from cuecard.serving.refusals import bad_request
from cuecard.serving.requests import CompletionRequest
from cuecard.serving.service import Service, check_choices, template_fields, usage
from cuecard.serving.shelf import Served
from cuecard.serving.visit import Visit
from cuecard.serving.writing import Job, Piece, together, write
from cuecard.types import Encoded

USUAL_TOKENS = 16


async def complete(service: Service, request: CompletionRequest, visit: Visit) -> dict[str, Any]:
    """A completion of every text that was given.

    Raises:
        Refusal: what cannot be answered.
    """
    visit.allow(request.model, service.shelf.backbone, raw=request.raw)
    texts = _texts(request, service.limits)
    with service.shelf.using(request.model) as served:
        jobs = await _jobs(service, request, served, texts, visit)
        done = await together([write(service.engine, job, visit) for job in jobs])
        choices = [
            {
                "index": index,
                "text": written.text,
                "logprobs": _logprobs(service, request, written.tokens),
                "finish_reason": written.reason,
            }
            for index, written in enumerate(chain.from_iterable(done))
        ]
        head = service.head("cmpl-", "text_completion", served)
        return {**head, "choices": choices, "usage": usage(visit)}


async def complete_stream(
    service: Service, request: CompletionRequest, visit: Visit
) -> AsyncGenerator[bytes, None]:
    """A completion of every text that was given, as server-sent events.

    Raises:
        Refusal: what cannot be answered.
    """
    visit.allow(request.model, service.shelf.backbone, raw=request.raw)
    texts = _texts(request, service.limits)
    with service.shelf.using(request.model) as served:
        jobs = await _jobs(service, request, served, texts, visit)
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

        async with aclosing(events(service, request, jobs, visit, head, chunk)) as made:
            async for event in made:
                yield event


async def _jobs(
    service: Service,
    request: CompletionRequest,
    served: Served | None,
    texts: list[str | None],
    visit: Visit,
) -> list[Job]:
    return await service.jobs(
        request,
        served,
        [text for text in texts if text is not None],
        lambda: [_row(service, request, served, text) for text in texts],
        visit,
        wanted=request.max_tokens,
        usual=USUAL_TOKENS,
        top_logprobs=request.logprobs or 0,
    )


def _row(
    service: Service, request: CompletionRequest, served: Served | None, text: str | None
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
