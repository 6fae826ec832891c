"""What completions and chats have in common: from a request to what is to be written."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cuecard.engine.protocol import Engine, Grammar
from cuecard.serving.api.contexts import check_size, fields_of, off_the_loop
from cuecard.serving.api.structured import Grammars
from cuecard.serving.api.writing import GenerationPlan, labels, longest, make_plan
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import PromptCatalog, ServedPrompt
from cuecard.serving.protocol.errors import APIError, bad_request, embeddings_only
from cuecard.serving.protocol.requests import Generating
from cuecard.serving.settings import Limits, SystemMessages
from cuecard.types import Encoded


@dataclass(frozen=True)
class Service:
    """What answers requests.

    Attributes:
        system_messages: what becomes of system messages under a prompt (`only_message`).
    """

    engine: Engine
    catalog: PromptCatalog
    limits: Limits
    system_messages: SystemMessages = "refuse"

    @cached_property
    def grammars(self) -> Grammars:
        """Compiles the schemas of structured outputs."""
        return Grammars(self.engine.tokenizer)

    async def plans(
        self,
        request: Generating,
        served: ServedPrompt | None,
        texts: list[str],
        rows: Callable[[], list[Encoded]],
        context: RequestContext,
        *,
        wanted: int | None,
        usual: int,
        top_logprobs: int = 0,
    ) -> list[GenerationPlan]:
        """What is to be written, one plan per row.

        Args:
            texts: what the request says, of which none may be too long.
            rows: encodes it.
            wanted: the most new tokens, as the request has it.
            usual: where it says nothing, and no task does.
            top_logprobs: how many of the likeliest tokens are reported in each place.

        Raises:
            APIError: what cannot be answered.
        """
        if served is not None and served.spec.mode == "vector":
            raise embeddings_only(request.model)
        if labels(served, request):
            _check_label(request)
        context.served = self.catalog.backbone if served is None else str(served)
        given = [*texts, *(request.fields or {}).values()]
        characters = check_size(given, self.limits.max_characters, "prompt")
        grammar = await self._grammar(request)
        encoded = await off_the_loop(characters, rows)
        if served is not None and not request.raw:
            usual = served.spec.max_new_tokens
        options: dict[str, Any] = {
            "wanted": wanted,
            "usual": usual,
            "top_logprobs": top_logprobs,
            "grammar": grammar,
        }
        plans = [
            make_plan(request, served, row, engine=self.engine, limits=self.limits, **options)
            for row in encoded
        ]
        prompt_tokens = sum(len(row.context) for row in encoded)
        context.reserve(prompt_tokens + sum(longest(self.engine, plan) for plan in plans))
        context.prompt_tokens = prompt_tokens
        return plans

    async def _grammar(self, request: Generating) -> Grammar | None:
        """What the answer has to look like; None for any text."""
        schema = _schema(request)
        if schema is None:
            return None
        if request.stops:
            raise bad_request(
                "A stop text would cut the JSON short: leave out stop or response_format.",
                "stop",
                "unsupported",
            )
        return await self.grammars.compile(schema)

    def head(self, prefix: str, kind: str, served: ServedPrompt | None) -> dict[str, Any]:
        """What every answer, and every piece of a streamed one, begins with."""
        return {
            "id": prefix + secrets.token_hex(12),
            "object": kind,
            "created": int(time.time()),
            "model": self.catalog.backbone if served is None else str(served),
            "system_fingerprint": None if served is None else served.held.digest,
        }


def check_choices(inputs: int, request: Generating, limits: Limits, param: str) -> None:
    """Refuse more answers at once than are given.

    Raises:
        APIError: 413 for too many inputs, or too many choices of them.
    """
    choices = request.n or 1
    if inputs * choices > limits.max_texts:
        times = "" if choices == 1 else f" with {choices} choices each"
        raise APIError(
            413,
            "batch_too_large",
            f"{inputs} prompts{times}; at most {limits.max_texts} are taken at once.",
            param=param if choices == 1 else "n",
        )


def _check_label(request: Generating) -> None:
    """Refuse what only generated text has.

    Raises:
        APIError: log-probabilities of tokens, several choices, a format.
    """
    if asks_logprobs(request):
        raise bad_request(
            "A label has no tokens; /v1/classify gives every label's probability.",
            "logprobs",
            "unsupported",
        )
    if (request.n or 1) > 1:
        raise bad_request(
            "A label is chosen, not drawn: n must be 1. /v1/classify gives every label's "
            "probability.",
            "n",
            "unsupported",
        )
    if _schema(request) is not None:
        raise bad_request(
            f"The model '{request.model}' answers with one of its labels, which is not JSON: leave "
            "out response_format, or ask /v1/classify.",
            "response_format",
            "unsupported",
        )


def _schema(request: Generating) -> dict[str, Any] | None:
    """What the answer has to follow; None for any text."""
    return None if request.response_format is None else request.response_format.wanted


def asks_logprobs(request: Generating) -> bool:
    """Whether log-probabilities are asked for, as either kind of request does it."""
    asked = getattr(request, "logprobs", None)
    return asked is not None and asked is not False  # the number 0 asks for them


def template_fields(served: ServedPrompt, text: str | None, request: Generating) -> dict[str, str]:
    """The template's fields, from a text or from the request's own.

    Raises:
        APIError: both, or others than the template has.
    """
    if request.fields is None:
        return fields_of(served, text, None, "prompt")
    if text:
        raise bad_request(
            "Give one text or the fields, and leave the text empty.", "fields", "invalid_fields"
        )
    return fields_of(served, None, request.fields, "fields")


def usage(context: RequestContext) -> dict[str, int]:
    """What an answer took."""
    return {
        "prompt_tokens": context.prompt_tokens,
        "completion_tokens": context.completion_tokens,
        "total_tokens": context.tokens,
    }
