"""What API keys use, counted in one place for all replicas."""

from __future__ import annotations

import asyncio
import contextvars
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from cuecard.ray_cluster import import_ray
from cuecard.serving.http.auth import APIKey
from cuecard.serving.http.quotas import KeyQuotas, Refusal, open_or_close, unchecked

_RENEW_SECONDS = 2.0
_LOST_SECONDS = 10.0
"""A replica that was silent for so long is lost: its open requests and reservations end."""
_ANSWER_SECONDS = 5.0


class KeyCounts:
    """`KeyQuotas` of all replicas: a deployment of which there is one, asked by `RayQuotas`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._counts = KeyQuotas(clock)
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._tickets: dict[str, dict[str, APIKey]] = {}

    async def open(self, replica: str, key: APIKey, ticket: str, most: int) -> Refusal | None:
        """See `Quotas.open`."""
        self._drop_lost()
        refusal = await self._counts.open(key, ticket, most)
        if refusal is None:
            self._note(replica, key, ticket)
        return refusal

    async def reserve(self, replica: str, key: APIKey, ticket: str, tokens: int) -> Refusal | None:
        """See `Quotas.reserve`; the request may have been opened before this count began."""
        refusal = await self._counts.reserve(key, ticket, tokens)
        if refusal is None:
            self._note(replica, key, ticket)
        return refusal

    async def close(self, replica: str, key: APIKey, ticket: str, tokens: int) -> None:
        """See `Quotas.close`."""
        self._tickets.get(replica, {}).pop(ticket, None)
        self._counts.close(key, ticket, tokens)

    async def renew(self, replica: str) -> None:
        """Say that a replica is there."""
        self._seen[replica] = self._clock()

    def _note(self, replica: str, key: APIKey, ticket: str) -> None:
        """Note whose end is that of a request."""
        self._seen.setdefault(replica, self._clock())
        self._tickets.setdefault(replica, {})[ticket] = key

    def _drop_lost(self) -> None:
        """End the requests of replicas that have ended without a word."""
        now = self._clock()
        for replica, seen in [*self._seen.items()]:
            if now - seen > _LOST_SECONDS:
                del self._seen[replica]
                for ticket, key in self._tickets.pop(replica, {}).items():
                    self._counts.close(key, ticket, 0)


class RayQuotas:
    """`Quotas` that the deployment `KeyCounts` counts.

    Args:
        counts: its handle.
    """

    def __init__(self, counts: Any) -> None:
        self._counts = counts
        self._replica = uuid.uuid4().hex
        ray, exceptions = import_ray("ray.exceptions"), import_ray("ray.serve.exceptions")
        self._failures = (TimeoutError, ray.RayError, exceptions.RayServeException)

    async def open(self, key: APIKey, ticket: str, most: int) -> Refusal | None:
        """See `Quotas.open`.

        Raises:
            APIError: 503, there is no answer.
        """
        asked = self._answer(self._counts.open.remote(self._replica, key, ticket, most))
        return await open_or_close(asked, lambda: self.close(key, ticket, 0))

    async def reserve(self, key: APIKey, ticket: str, tokens: int) -> Refusal | None:
        """See `Quotas.reserve`.

        Raises:
            APIError: 503, there is no answer.
        """
        return await self._answer(self._counts.reserve.remote(self._replica, key, ticket, tokens))

    def close(self, key: APIKey, ticket: str, tokens: int) -> None:
        """See `Quotas.close`."""
        # In no request's context: of a request whose client has left, Ray cancels every call.
        fresh = contextvars.Context()
        fresh.run(self._counts.close.remote, self._replica, key, ticket, tokens)

    async def renew(self) -> None:
        """Say that this replica is there, until cancelled."""
        while True:
            self._counts.renew.remote(self._replica)
            await asyncio.sleep(_RENEW_SECONDS)

    async def _answer(self, asked: Awaitable[Refusal | None]) -> Refusal | None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await asked
        except self._failures as error:
            raise unchecked() from error
