"""Concurrency and rate limits, per API key and overall."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from cuecard.serving.http.auth import APIKey
from cuecard.serving.http.quotas import KeyQuotas, Quotas, Refusal
from cuecard.serving.protocol.errors import APIError

_OPEN_FACTOR = 4
"""Open requests, including those whose bodies are arriving, as a multiple of running ones."""


@dataclass
class RateLimiter:
    """Enforces the limits of each key and of the server.

    Attributes:
        max_running: maximum running requests.
        max_per_key: maximum open requests of one key.
        quotas: counts what the keys use.
        open: requests admitted and not finished.
        running: those whose bodies have arrived.
    """

    max_running: int
    max_per_key: int = 128
    quotas: Quotas = field(default_factory=KeyQuotas)
    open: int = 0
    running: int = 0

    @asynccontextmanager
    async def admit(self, key: APIKey | None) -> AsyncIterator[Admission]:
        """Admit a request for the duration of the block, before its body is read.

        Raises:
            APIError: 503 if too many are running or arriving, 429 if the key's limits are used up.
        """
        self.check_capacity()
        if self.open >= max_open(self.max_running):
            raise _overloaded()
        admission = Admission(self, key)
        self.open += 1
        try:
            await admission.open()
            yield admission
        finally:
            self.open -= 1
            admission.close()

    def check_capacity(self) -> None:
        """Check that one more request may run.

        Raises:
            APIError: 503.
        """
        if self.running >= self.max_running:
            raise _overloaded()


class Admission:
    """One admitted request."""

    def __init__(self, limiter: RateLimiter, key: APIKey | None) -> None:
        self._limiter = limiter
        self._key = key
        self._ticket = uuid.uuid4().hex
        self._opened = False
        self._used = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count as running inside the block.

        Raises:
            APIError: 503 if too many are running.
        """
        self._limiter.check_capacity()
        self._limiter.running += 1
        try:
            yield
        finally:
            self._limiter.running -= 1

    async def open(self) -> None:
        """Count as one of the key's open requests.

        Raises:
            APIError: 429 if the key's limits are used up.
        """
        if self._key is not None:
            most = self._key.concurrent_requests or self._limiter.max_per_key
            _raise(await self._limiter.quotas.open(self._key, self._ticket, most))
            self._opened = True

    async def reserve(self, tokens: int) -> None:
        """Reserve the maximum number of tokens the request can use, until it ends.

        Without it, concurrent requests could exceed a limit that each of them respects.

        Raises:
            APIError: 429 if the key has fewer left; one above the whole limit needs all of it.
        """
        if self._key is not None:
            _raise(await self._limiter.quotas.reserve(self._key, self._ticket, tokens))

    def charge(self, tokens: int) -> None:
        """Note the tokens the request used, which count when it ends."""
        self._used += tokens

    def close(self) -> None:
        """Count what was used, and release what was reserved."""
        if self._key is not None and self._opened:
            self._limiter.quotas.close(self._key, self._ticket, self._used)


def max_open(max_running: int) -> int:
    """Maximum open requests of a server that runs this many."""
    return _OPEN_FACTOR * max_running


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise APIError(429, "rate_limit_exceeded", refusal.what, retry_after=refusal.retry_after)


def _overloaded() -> APIError:
    return APIError(503, "overloaded", "Too many concurrent requests.", retry_after=1)
