"""`/v1/responses`: text responses; nothing is stored."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from cuecard.errors import CuecardError
from cuecard.serving.api.chat import logprobs_of, plan_chat
from cuecard.serving.api.generation import GeneratedText, generate, stream_choices
from cuecard.serving.api.service import Service
from cuecard.serving.api.sse import sse_event
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import ServedPrompt
from cuecard.serving.protocol.errors import APIError, to_api_error
from cuecard.serving.protocol.requests import ChatRequest
from cuecard.serving.protocol.responses_request import LOGPROBS, ResponsesRequest

# A chat's parameters -> their names here.
_NAMES = {
    "response_format.json_schema": "text.format.schema",
    "response_format": "text.format",
    "logprobs: true": f'include: ["{LOGPROBS}"]',
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "prompt": "input",
}
# In messages only unambiguous names, and never a model's name, which is quoted.
_IN_MESSAGES = re.compile(
    r"(?<![\w'@.-])(response_format\.json_schema|response_format|max_tokens|logprobs: true)\b"
)


async def respond(
    service: Service, request: ResponsesRequest, context: RequestContext
) -> dict[str, Any]:
    """The response.

    Raises:
        APIError: the request cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    chat = request.chat
    with _own_names(), service.catalog.acquire(request.model) as served:
        plan = await plan_chat(service, chat, served, context)
        response = _Response(service, request, chat, served, context)
        (response.generated,) = await generate(service.engine, [plan], context)
        return response.ended()


async def respond_stream(
    service: Service, request: ResponsesRequest, context: RequestContext
) -> AsyncGenerator[bytes, None]:
    """The response as server-sent events.

    A failure before the first delta is raised, and becomes an error response; a later one is sent
    as the event `response.failed`.

    Raises:
        APIError: the request cannot be answered.
    """
    context.allow(request.model, service.catalog.backbone, raw=request.raw)
    chat = request.chat
    with _own_names(), service.catalog.acquire(request.model) as served:
        plan = await plan_chat(service, chat, served, context)
        response = _Response(service, request, chat, served, context)
        started = False
        try:
            async with aclosing(stream_choices(service.engine, plan, context)) as deltas:
                async for _, delta in deltas:
                    for event in () if started else response.opening():
                        yield event
                    started = True
                    response.generated.add(delta)
                    if delta.text:
                        yield response.delta(delta.text, response.logprobs(delta.tokens))
        except CuecardError as error:
            if not started:
                raise
            yield response.failed(to_api_error(error))
            return
        for event in response.closing():
            yield event


@dataclass
class _Response:
    """A response while it is generated."""

    service: Service
    request: ResponsesRequest
    chat: ChatRequest
    served: ServedPrompt | None
    context: RequestContext
    generated: GeneratedText = field(default_factory=GeneratedText)

    def __post_init__(self) -> None:
        self._id, self._item = (kind + secrets.token_hex(24) for kind in ("resp_", "msg_"))
        self._created = int(time.time())
        self._numbers = count()

    def ended(self) -> dict[str, Any]:
        """The complete response."""
        return self._body(self._end, [self._message(self._end, [self._text()])])

    def opening(self) -> Iterator[bytes]:
        """The events before the first delta."""
        body = self._body("in_progress", [])
        yield self._event("response.created", response=body)
        yield self._event("response.in_progress", response=body)
        item = self._message("in_progress", [])
        yield self._event("response.output_item.added", output_index=0, item=item)
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._event("response.content_part.added", **self._place, part=part)

    def delta(self, text: str, logprobs: list[dict[str, Any]]) -> bytes:
        """The event of a delta."""
        content = {"delta": text, "logprobs": logprobs}
        return self._event("response.output_text.delta", **self._place, **content)

    def closing(self) -> Iterator[bytes]:
        """The events after the last delta."""
        part = self._text()
        whole = {"text": part["text"], "logprobs": part["logprobs"]}
        yield self._event("response.output_text.done", **self._place, **whole)
        yield self._event("response.content_part.done", **self._place, part=part)
        item = self._message(self._end, [part])
        yield self._event("response.output_item.done", output_index=0, item=item)
        yield self._event(f"response.{self._end}", response=self.ended())

    def failed(self, error: APIError) -> bytes:
        """The last event of a response that fails midway."""
        # Clients know only some codes.
        code = "server_error" if error.status >= 500 else "invalid_prompt"
        item = self._message("incomplete", [self._text()])
        body = {
            **self._body("failed", [item]),
            "error": {"code": code, "message": error.message},
        }
        return self._event("response.failed", response=body)

    def logprobs(self, tokens: Any) -> list[dict[str, Any]]:
        """Log-probabilities of tokens, if requested."""
        return logprobs_of(self.service, tokens) if self.chat.logprobs else []

    @property
    def _end(self) -> str:
        return "completed" if self.generated.reason == "stop" else "incomplete"

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _text(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "text": self.generated.text,
            "annotations": [],
            "logprobs": self.logprobs(self.generated.tokens),
        }

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._item,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _body(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        request, served = self.request, self.served
        format_ = None if request.text is None else request.text.format
        text = {"type": "text"} if format_ is None else format_.model_dump(by_alias=True)
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": cut,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": {},
            "model": self.service.catalog.backbone if served is None else str(served),
            "output": output,
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "system_fingerprint": None if served is None else served.held.digest,
            "temperature": request.temperature or 0.0,
            "text": {"format": _given(text), "verbosity": "medium"},
            "tool_choice": "none",
            "tools": [],
            "top_logprobs": request.top_logprobs or 0,
            "top_p": 1.0 if request.top_p is None else request.top_p,
            "truncation": "disabled",
            "usage": None if status == "in_progress" else _usage(self.context),
            "user": None,
        }

    def _event(self, kind: str, **content: Any) -> bytes:
        whole = {"type": kind, "sequence_number": next(self._numbers), **content}
        return f"event: {kind}\n".encode() + sse_event(whole)


@contextmanager
def _own_names() -> Iterator[None]:
    """Errors of a chat request, with this route's parameter names."""
    try:
        yield
    except (APIError, CuecardError) as caught:
        error = caught if isinstance(caught, APIError) else to_api_error(caught)
        raise APIError(
            error.status,
            error.code,
            _IN_MESSAGES.sub(lambda found: _NAMES[found[0]], error.message),
            param=error.param and _NAMES.get(error.param, error.param),
            retry_after=error.retry_after,
        ) from caught


def _given(format_: dict[str, Any]) -> dict[str, Any]:
    """A format without unset values."""
    return {name: value for name, value in format_.items() if value not in (None, "")}


def _usage(context: RequestContext) -> dict[str, Any]:
    return {
        "input_tokens": context.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": context.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": context.tokens,
    }
