"""`/v1/completions` and `/v1/chat/completions`, whole and as events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from cuecard.errors import CuecardError
from cuecard.serving.contexts import (
    chat_row,
    check_size,
    fields_of,
    off_the_loop,
    only_message,
    raw_row,
    task_row,
)
from cuecard.serving.engine import Engine
from cuecard.serving.faults import as_refusal
from cuecard.serving.limits import Limits
from cuecard.serving.protocol import ChatRequest, CompletionRequest, Generating
from cuecard.serving.refusals import Refusal, bad_request
from cuecard.serving.shelf import Served, Shelf
from cuecard.serving.visit import Visit
from cuecard.serving.writing import Job, Written, pieces, plan, together, write
from cuecard.types import Encoded

USUAL_COMPLETION = 16
USUAL_CHAT = 256

Make = Callable[[Served | None], list[Encoded]]


@dataclass(frozen=True, slots=True)
class Service:
    """What the two have to do with."""

    engine: Engine
    shelf: Shelf
    limits: Limits


async def complete(service: Service, request: CompletionRequest, visit: Visit) -> dict[str, Any]:
    """A completion of every text that was given."""
    visit.allow(request.model)
    texts = _texts(request, service.limits)
    with service.shelf.using(request.model) as served:
        jobs = await _completion_jobs(service, request, served, texts, visit)
        done = await together([write(service.engine, job, visit) for job in jobs])
        choices = [
            {
                "index": index,
                "text": written.text,
                "logprobs": None if request.logprobs is None else _text_logprobs(service, written),
                "finish_reason": written.reason,
            }
            for index, written in enumerate(done)
        ]
        head = _head("cmpl-", "text_completion", served, service)
        return {**head, "choices": choices, "usage": _usage(visit)}


async def chat(service: Service, request: ChatRequest, visit: Visit) -> dict[str, Any]:
    """The assistant's next message."""
    visit.allow(request.model)
    with service.shelf.using(request.model) as served:
        job = await _chat_job(service, request, served, visit)
        written = await write(service.engine, job, visit)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": written.text, "refusal": None},
            "logprobs": _chat_logprobs(service, written) if request.logprobs else None,
            "finish_reason": written.reason,
        }
        head = _head("chatcmpl-", "chat.completion", served, service)
        return {**head, "choices": [choice], "usage": _usage(visit)}


async def complete_stream(
    service: Service, request: CompletionRequest, visit: Visit
) -> AsyncIterator[bytes]:
    """A completion as server-sent events."""
    visit.allow(request.model)
    texts = _texts(request, service.limits)
    if len(texts) > 1:
        raise bad_request("A stream carries one prompt.", "prompt", "unsupported")
    _check_stream(request)
    with service.shelf.using(request.model) as served:
        (job,) = await _completion_jobs(service, request, served, texts, visit)
        head = _head("cmpl-", "text_completion", served, service)

        def chunk(text: str, reason: str | None) -> dict[str, Any]:
            return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}

        async with aclosing(_events(service, request, job, visit, head, chunk)) as events:
            async for event in events:
                yield event


async def chat_stream(service: Service, request: ChatRequest, visit: Visit) -> AsyncIterator[bytes]:
    """The assistant's next message as server-sent events."""
    visit.allow(request.model)
    _check_stream(request)
    with service.shelf.using(request.model) as served:
        job = await _chat_job(service, request, served, visit)
        head = _head("chatcmpl-", "chat.completion.chunk", served, service)
        first = [True]

        def chunk(text: str, reason: str | None) -> dict[str, Any]:
            delta: dict[str, Any] = {"role": "assistant"} if first.pop() else {}
            first.append(False)
            if reason is None:
                delta["content"] = text
            return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}

        async with aclosing(_events(service, request, job, visit, head, chunk)) as events:
            async for event in events:
                yield event


async def _events(
    service: Service,
    request: Generating,
    job: Job,
    visit: Visit,
    head: dict[str, Any],
    chunk: Callable[[str, str | None], dict[str, Any]],
) -> Any:
    """Chunks, the end, the usage if it is asked for, and the mark that all has come.

    What fails before the first chunk is raised, to become an answer with a status of its own; later
    it is an event, and the mark does not come.
    """
    options = request.stream_options
    with_usage = options is not None and options.include_usage
    usual = {"usage": None} if with_usage else {}
    written, begun = Written(), False
    try:
        async with aclosing(cast("Any", pieces(service.engine, job, written, visit))) as texts:
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
        yield _event({**head, "choices": [], "usage": _usage(visit)})
    yield b"data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8") + b"\n\n"


async def _completion_jobs(
    service: Service,
    request: CompletionRequest,
    served: Served | None,
    texts: Sequence[str | None],
    visit: Visit,
) -> list[Job]:
    def rows(served: Served | None) -> list[Encoded]:
        return [_completion_row(service, request, served, text) for text in texts]

    size = _size(request, [text for text in texts if text is not None], service.limits, "prompt")
    usual = USUAL_COMPLETION
    return await _jobs(service, request, served, size, rows, request.max_tokens, usual, visit)


async def _chat_job(
    service: Service, request: ChatRequest, served: Served | None, visit: Visit
) -> Job:
    texts = [message.text for message in request.messages]

    def rows(served: Served | None) -> list[Encoded]:
        if served is None or request.raw:
            if request.fields is not None:
                raise bad_request("There is no template to fill.", "fields", "invalid_fields")
            return [chat_row(served, request.messages, service.engine.tokenizer)]
        text = only_message(served, request.messages)
        fields = _fields(served, text, request)
        return [task_row(served, fields, service.engine.tokenizer)]

    size = _size(request, texts, service.limits, "messages")
    wanted = request.max_completion_tokens or request.max_tokens
    (job,) = await _jobs(service, request, served, size, rows, wanted, USUAL_CHAT, visit)
    return job


async def _jobs(
    service: Service,
    request: Generating,
    served: Served | None,
    size: int,
    make: Make,
    wanted: int | None,
    usual: int,
    visit: Visit,
) -> list[Job]:
    visit.served = service.shelf.backbone if served is None else str(served)
    rows = await off_the_loop(size, lambda: make(served))
    visit.prompt_tokens = sum(len(row.context) for row in rows)
    if served is not None and not request.raw:
        usual = served.spec.max_new_tokens
    jobs = [
        plan(
            request,
            served,
            row,
            engine=service.engine,
            limits=service.limits,
            wanted=wanted,
            usual=usual,
        )
        for row in rows
    ]
    asked = getattr(request, "logprobs", None)
    if asked not in (None, False) and any(job.sampling is None for job in jobs):
        raise bad_request(
            "A label has no tokens; /v1/classify gives every label's probability.",
            "logprobs",
            "unsupported",
        )
    return jobs


def _completion_row(
    service: Service, request: CompletionRequest, served: Served | None, text: str | None
) -> Encoded:
    tokenizer = service.engine.tokenizer
    if served is None or request.raw:
        if text is None or request.fields is not None:
            raise bad_request("There is no template to fill; give a prompt.", "prompt")
        return raw_row(served, text, tokenizer)
    return task_row(served, _fields(served, text, request), tokenizer)


def _fields(served: Served, text: str | None, request: Generating) -> dict[str, str]:
    if request.fields is None:
        return fields_of(served, text, None, "prompt")
    if text:
        raise bad_request(
            "Give one text or the fields, and leave the text empty.", "fields", "invalid_fields"
        )
    return fields_of(served, None, request.fields, "fields")


def _texts(request: CompletionRequest, limits: Limits) -> list[str | None]:
    texts = request.prompt if isinstance(request.prompt, list) else [request.prompt]
    if len(texts) > limits.texts:
        raise Refusal(
            413,
            "batch_too_large",
            f"{len(texts)} prompts; at most {limits.texts} are taken at once.",
            param="prompt",
        )
    return list(texts)


def _size(request: Generating, texts: Sequence[str], limits: Limits, param: str) -> int:
    given = list((request.fields or {}).values())
    return check_size([*texts, *given], limits.characters, param)


def _check_stream(request: Generating) -> None:
    if getattr(request, "logprobs", None) not in (None, False):
        raise bad_request("A stream carries no log-probabilities.", "logprobs", "unsupported")


def _head(prefix: str, kind: str, served: Served | None, service: Service) -> dict[str, Any]:
    return {
        "id": prefix + secrets.token_hex(12),
        "object": kind,
        "created": int(time.time()),
        "model": service.shelf.backbone if served is None else str(served),
        "system_fingerprint": None if served is None else served.held.digest,
    }


def _usage(visit: Visit) -> dict[str, int]:
    return {
        "prompt_tokens": visit.prompt_tokens,
        "completion_tokens": visit.completion_tokens,
        "total_tokens": visit.tokens,
    }


def _text_logprobs(service: Service, written: Written) -> dict[str, Any]:
    tokens, offsets, at = [], [], 0
    for token in written.tokens:
        text = str(service.engine.tokenizer.decode([token.id]))
        tokens.append(text)
        offsets.append(at)
        at += len(text)
    return {
        "tokens": tokens,
        "token_logprobs": [token.logprob for token in written.tokens],
        "top_logprobs": None,
        "text_offset": offsets,
    }


def _chat_logprobs(service: Service, written: Written) -> dict[str, Any]:
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
