"""What completions, chats and responses share: from a request to what to generate."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cuecard.engine.json_grammar import GrammarCompiler, GrammarError
from cuecard.engine.protocol import Engine, Grammar
from cuecard.errors import ConfigError
from cuecard.serving.api.generation import (
    GenerationPlan,
    answers_with_label,
    make_plan,
    max_completion_tokens,
)
from cuecard.serving.api.images import ImageReader
from cuecard.serving.api.inputs import count_characters, match_fields, offload
from cuecard.serving.http.context import RequestContext
from cuecard.serving.models.catalog import PromptCatalog, ServedPrompt
from cuecard.serving.protocol.errors import APIError, bad_request, embeddings_only, images_only
from cuecard.serving.protocol.requests import GenerationRequest
from cuecard.serving.settings import Limits, SystemMessages
from cuecard.types import Encoded


@dataclass(frozen=True)
class Service:
    """What the routes need to answer requests."""

    engine: Engine
    catalog: PromptCatalog
    limits: Limits
    system_messages: SystemMessages = "refuse"

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """Compiles the schemas of structured outputs."""
        return GrammarCompiler(self.engine.tokenizer)

    @cached_property
    def image_reader(self) -> ImageReader:
        """Decodes the images of requests.

        Raises:
            ConfigError: the backbone is a language model.
        """
        if self.engine.images is None:
            raise ConfigError("the backbone sees no images", where=self.catalog.backbone)
        return ImageReader(self.engine.images, self.limits.image)

    def check_reads_texts(self) -> None:
        """Check that the backbone reads texts at all.

        Raises:
            APIError: a vision encoder.
        """
        if self.engine.images is not None:
            raise images_only(self.catalog.backbone)

    async def plans(
        self,
        request: GenerationRequest,
        served: ServedPrompt | None,
        texts: list[str],
        encode: Callable[[], list[Encoded]],
        context: RequestContext,
        *,
        max_tokens: int | None,
        default_max_tokens: int,
        top_logprobs: int = 0,
    ) -> list[GenerationPlan]:
        """What to generate, one plan per row.

        Args:
            texts: the request's texts, whose lengths are checked.
            encode: makes the rows.
            max_tokens: the request's maximum number of new tokens.
            default_max_tokens: used if neither the request nor the task has one.
            top_logprobs: how many of the likeliest tokens to report per position.

        Raises:
            APIError: the request cannot be answered.
        """
        self.check_reads_texts()
        if served is not None and served.spec.mode == "vector":
            raise embeddings_only(request.model)
        if answers_with_label(served, request):
            _check_label(request)
        context.served = self.catalog.backbone if served is None else str(served)
        given = [*texts, *(request.fields or {}).values()]
        characters = count_characters(given, self.limits.max_characters, "prompt")
        grammar = await self._grammar(request)
        rows = await offload(characters, encode)
        if served is not None and not request.raw:
            default_max_tokens = served.spec.max_new_tokens
        options: dict[str, Any] = {
            "max_tokens": max_tokens,
            "default_max_tokens": default_max_tokens,
            "top_logprobs": top_logprobs,
            "grammar": grammar,
        }
        plans = [
            make_plan(request, served, row, engine=self.engine, limits=self.limits, **options)
            for row in rows
        ]
        prompt_tokens = sum(len(row.context) for row in rows)
        completion_tokens = sum(max_completion_tokens(self.engine, plan) for plan in plans)
        await context.reserve(prompt_tokens + completion_tokens)
        context.prompt_tokens = prompt_tokens
        return plans

    async def _grammar(self, request: GenerationRequest) -> Grammar | None:
        """The constraint on the answer; None for any text."""
        schema = _schema(request)
        if schema is None:
            return None
        if request.stops:
            raise bad_request(
                "A stop text would cut the JSON short: leave out stop or response_format.",
                "stop",
                "unsupported",
            )
        try:
            return await self.grammars.compile(schema)
        except GrammarError as error:
            what = f"{error.where}: {error.what}: {error.got}."
            raise bad_request(what, error.where, error.code) from error

    def envelope(self, prefix: str, kind: str, served: ServedPrompt | None) -> dict[str, Any]:
        """The fields that every response, and every chunk of a stream, begins with."""
        return {
            "id": prefix + secrets.token_hex(12),
            "object": kind,
            "created": int(time.time()),
            "model": self.catalog.backbone if served is None else str(served),
            "system_fingerprint": None if served is None else served.held.digest,
        }


def check_choices(inputs: int, request: GenerationRequest, limits: Limits, param: str) -> None:
    """Check the number of inputs and choices.

    Raises:
        APIError: 413.
    """
    choices = request.n or 1
    if inputs * choices > limits.max_texts:
        times = "" if choices == 1 else f" with {choices} choices each"
        raise APIError(
            413,
            "batch_too_large",
            f"{inputs} prompts{times}: at most {limits.max_texts} answers.",
            param=param if choices == 1 else "n",
        )


def _check_label(request: GenerationRequest) -> None:
    """Reject what only generated text has.

    Raises:
        APIError: token log-probabilities, several choices, or a response format.
    """
    if asks_logprobs(request):
        raise bad_request(
            "A label has no tokens; /v1/classify gives every label's probability.",
            "logprobs",
            "unsupported",
        )
    if (request.n or 1) > 1:
        raise bad_request(
            "A label is chosen, not sampled: n must be 1. /v1/classify gives every label's "
            "probability.",
            "n",
            "unsupported",
        )
    if _schema(request) is not None:
        raise bad_request(
            f"The model '{request.model}' answers with one of its labels, which is not JSON: leave "
            "out response_format, or use /v1/classify.",
            "response_format",
            "unsupported",
        )


def _schema(request: GenerationRequest) -> dict[str, Any] | None:
    """The JSON schema of the answer; None for any text."""
    return None if request.response_format is None else request.response_format.output_schema


def asks_logprobs(request: GenerationRequest) -> bool:
    """Whether log-probabilities are asked for, by a number or by true."""
    asked = getattr(request, "logprobs", None)
    return asked is not None and asked is not False  # 0 asks for them


def template_fields(
    served: ServedPrompt, text: str | None, request: GenerationRequest
) -> dict[str, str]:
    """The template's fields, from a text or from the request's fields.

    Raises:
        APIError: both, or fields that do not match the template.
    """
    if request.fields is None:
        return match_fields(served, text, None, "prompt")
    if text:
        raise bad_request(
            "Give either a text or fields; the text must be empty with fields.",
            "fields",
            "invalid_fields",
        )
    return match_fields(served, None, request.fields, "fields")


def usage(context: RequestContext) -> dict[str, int]:
    """The `usage` of a response."""
    return {
        "prompt_tokens": context.prompt_tokens,
        "completion_tokens": context.completion_tokens,
        "total_tokens": context.tokens,
    }
