"""`/v1/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from cuecard.serving.contexts import raw_row, task_row
from cuecard.serving.events import check_stream, events
from cuecard.serving.limits import Limits
from cuecard.serving.refusals import Refusal, bad_request
from cuecard.serving.requests import CompletionRequest
from cuecard.serving.service import Service, template_fields, usage
from cuecard.serving.shelf import Served
from cuecard.serving.visit import Visit
from cuecard.serving.writing import Job, Written, together, write
from cuecard.types import Encoded

USUAL_TOKENS = 16


async def complete(service: Service, request: CompletionRequest, visit: Visit) -> dict[str, Any]:
    """A completion of every text that was given.

    Raises:
        Refusal: what cannot be answered.
    """
    visit.allow(request.model)
    texts = _texts(request, service.limits)
    with service.shelf.using(request.model) as served:
        jobs = await _jobs(service, request, served, texts, visit)
        done = await together([write(service.engine, job, visit) for job in jobs])
        choices = [
            {
                "index": index,
                "text": written.text,
                "logprobs": None if request.logprobs is None else _logprobs(service, written),
                "finish_reason": written.reason,
            }
            for index, written in enumerate(done)
        ]
        head = service.head("cmpl-", "text_completion", served)
        return {**head, "choices": choices, "usage": usage(visit)}


async def complete_stream(
    service: Service, request: CompletionRequest, visit: Visit
) -> AsyncGenerator[bytes, None]:
    """A completion of one text as server-sent events.

    Raises:
        Refusal: what cannot be answered.
    """
    visit.allow(request.model)
    texts = _texts(request, service.limits)
    if len(texts) > 1:
        raise bad_request("A stream carries one prompt.", "prompt", "unsupported")
    check_stream(request)
    with service.shelf.using(request.model) as served:
        (job,) = await _jobs(service, request, served, texts, visit)
        head = service.head("cmpl-", "text_completion", served)

        def chunk(text: str, reason: str | None) -> dict[str, Any]:
            return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}

        async with aclosing(events(service, request, job, visit, head, chunk)) as made:
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
    if not isinstance(request.prompt, list):
        return [request.prompt]
    if len(request.prompt) > limits.texts:
        raise Refusal(
            413,
            "batch_too_large",
            f"{len(request.prompt)} prompts; at most {limits.texts} are taken at once.",
            param="prompt",
        )
    return [*request.prompt]


def _logprobs(service: Service, written: Written) -> dict[str, Any]:
    tokens: list[str] = []
    offsets, at = [], 0
    for token in written.tokens:
        tokens.append(str(service.engine.tokenizer.decode([token.id])))
        offsets.append(at)
        at += len(tokens[-1])
    return {
        "tokens": tokens,
        "token_logprobs": [token.logprob for token in written.tokens],
        "top_logprobs": None,
        "text_offset": offsets,
    }
