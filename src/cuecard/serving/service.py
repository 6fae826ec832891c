"""What completions and chats have in common: from a request to what is to be written."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cuecard.serving.contexts import check_size, fields_of, off_the_loop
from cuecard.serving.engine import Engine
from cuecard.serving.limits import Limits
from cuecard.serving.refusals import bad_request, by_vectors
from cuecard.serving.requests import Generating
from cuecard.serving.shelf import Served, Shelf
from cuecard.serving.visit import Visit
from cuecard.serving.writing import Job, plan
from cuecard.types import Encoded


@dataclass(frozen=True, slots=True)
class Service:
    """What answers requests."""

    engine: Engine
    shelf: Shelf
    limits: Limits

    async def jobs(
        self,
        request: Generating,
        served: Served | None,
        texts: list[str],
        rows: Callable[[], list[Encoded]],
        visit: Visit,
        *,
        wanted: int | None,
        usual: int,
    ) -> list[Job]:
        """What is to be written, one job per row.

        Args:
            texts: what the request says, of which none may be too long.
            rows: encodes it.
            wanted: the most new tokens, as the request has it.
            usual: where it says nothing, and no task does.

        Raises:
            Refusal: what cannot be answered.
        """
        if served is not None and served.spec.kind == "embedding":
            raise by_vectors(request.model)
        visit.served = self.shelf.backbone if served is None else str(served)
        given = [*texts, *(request.fields or {}).values()]
        encoded = await off_the_loop(check_size(given, self.limits.characters, "prompt"), rows)
        visit.prompt_tokens = sum(len(row.context) for row in encoded)
        if served is not None and not request.raw:
            usual = served.spec.max_new_tokens
        options: dict[str, Any] = {"wanted": wanted, "usual": usual}
        jobs = [
            plan(request, served, row, engine=self.engine, limits=self.limits, **options)
            for row in encoded
        ]
        if asks_logprobs(request) and any(job.sampling is None for job in jobs):
            raise bad_request(
                "A label has no tokens; /v1/classify gives every label's probability.",
                "logprobs",
                "unsupported",
            )
        return jobs

    def head(self, prefix: str, kind: str, served: Served | None) -> dict[str, Any]:
        """What every answer, and every piece of a streamed one, begins with."""
        return {
            "id": prefix + secrets.token_hex(12),
            "object": kind,
            "created": int(time.time()),
            "model": self.shelf.backbone if served is None else str(served),
            "system_fingerprint": None if served is None else served.held.digest,
        }


def asks_logprobs(request: Generating) -> bool:
    """Whether log-probabilities are asked for, as either kind of request does it."""
    asked = getattr(request, "logprobs", None)
    return asked is not None and asked is not False  # the number 0 asks for them


def template_fields(served: Served, text: str | None, request: Generating) -> dict[str, str]:
    """The template's fields, from a text or from the request's own.

    Raises:
        Refusal: both, or others than the template has.
    """
    if request.fields is None:
        return fields_of(served, text, None, "prompt")
    if text:
        raise bad_request(
            "Give one text or the fields, and leave the text empty.", "fields", "invalid_fields"
        )
    return fields_of(served, None, request.fields, "fields")


def usage(visit: Visit) -> dict[str, int]:
    """What an answer took."""
    return {
        "prompt_tokens": visit.prompt_tokens,
        "completion_tokens": visit.completion_tokens,
        "total_tokens": visit.tokens,
    }
