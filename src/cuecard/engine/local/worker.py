"""What the engine asks of a worker, whatever the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from cuecard.engine.local.requests import Request
from cuecard.engine.protocol import Held

RequestOutput = tuple[Request, Any]
"""A request and what to deliver: a result, a token, its end or an error."""


class Worker(Protocol):
    """Computes requests in steps. Belongs to one thread, but for `check_prompt`."""

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        ...

    def stats(self) -> Mapping[str, float]:
        """Counters and gauges by name."""
        ...

    def check_prompt(self, prompt: Held) -> None:
        """Check that a prompt fits the backbone; may be called from any thread.

        Raises:
            BackboneError: it has other sizes than the backbone.
        """
        ...

    def hold(self, digest: str) -> None:
        """A prompt that was dropped is wanted again."""
        ...

    def drop(self, digest: str) -> None:
        """Forget a prompt as soon as nobody uses it."""
        ...

    def add(self, request: Request) -> None:
        """Queue a request."""
        ...

    def step(self) -> list[RequestOutput]:
        """Run one pass or batch, if there is anything to run; what to deliver."""
        ...

    def fail_all(self, error: Exception) -> list[RequestOutput]:
        """End every request with an error."""
        ...
