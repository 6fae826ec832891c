"""What API keys use: requests, tokens, and how many requests of each are open."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from cuecard.serving.http.auth import APIKey
from cuecard.serving.protocol.errors import APIError

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a key may not go on.

    Attributes:
        what: a sentence for the caller.
        retry_after: seconds.
    """

    what: str
    retry_after: int


class Quotas(Protocol):
    """Where the use of keys is counted: in this process, or in one that several servers share."""

    async def open(self, key: APIKey, ticket: str, most: int) -> Refusal | None:
        """Count a request as open, until it is closed.

        Args:
            ticket: names the request.
            most: maximum open requests of the key.
        """
        ...

    async def reserve(self, key: APIKey, ticket: str, tokens: int) -> Refusal | None:
        """Reserve the maximum number of tokens that the request can use, until it is closed."""
        ...

    def close(self, key: APIKey, ticket: str, tokens: int) -> None:
        """End the request and its reservation; count the tokens that it used."""
        ...


class TokenBucket:
    """A token bucket that holds one minute's allowance.

    A cost above the allowance needs a full bucket and takes the level below zero.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self._capacity = float(per_minute)
        self._rate = per_minute / 60.0
        self._level = self._capacity
        self._at = now

    def wait(self, needed: float, now: float, reserved: float = 0.0) -> float:
        """Seconds until `needed` is available beside `reserved`; 0 if it is now."""
        self._refill(now)
        return max(0.0, (min(needed, self._capacity) + reserved - self._level) / self._rate)

    def take(self, amount: float, now: float) -> None:
        """Take an amount, even below zero."""
        self._refill(now)
        self._level -= amount

    def _refill(self, now: float) -> None:
        self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
        self._at = now


@dataclass
class _KeyUsage:
    """What one key has used.

    Attributes:
        tickets: its open requests, with the tokens that each may still use.
        day: days since 1970.
        today: tokens used on that day.
    """

    key: APIKey
    requests: TokenBucket | None
    tokens: TokenBucket | None
    tickets: dict[str, int] = field(default_factory=dict)
    day: int = -1
    today: int = 0

    @property
    def reserved(self) -> int:
        return sum(self.tickets.values())


@dataclass
class KeyQuotas:
    """`Quotas` of this process: the counts of all keys, in memory, which start at zero with it.

    Days end at midnight UTC.
    """

    monotonic: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    _usages: dict[str, _KeyUsage] = field(default_factory=dict)

    async def open(self, key: APIKey, ticket: str, most: int) -> Refusal | None:
        """See `Quotas.open`."""
        usage = self._usage(key)
        if len(usage.tickets) >= most:
            return too_many_open(len(usage.tickets))
        if refusal := self._refuse_tokens(usage, 1):
            return refusal
        if usage.requests is not None:
            if wait := usage.requests.wait(1.0, self.monotonic()):
                return used_up("requests per minute", wait)
            usage.requests.take(1.0, self.monotonic())
        usage.tickets[ticket] = 0
        return None

    async def reserve(self, key: APIKey, ticket: str, tokens: int) -> Refusal | None:
        """See `Quotas.reserve`; of a request above a whole limit, all of the limit is needed."""
        usage = self._usage(key)
        if refusal := self._refuse_tokens(usage, tokens):
            return refusal
        usage.tickets[ticket] = usage.tickets.get(ticket, 0) + tokens
        return None

    def close(self, key: APIKey, ticket: str, tokens: int) -> None:
        """See `Quotas.close`; a ticket that is not known has nothing to release."""
        usage = self._usage(key)
        usage.tickets.pop(ticket, None)
        if usage.tokens is not None:
            usage.tokens.take(tokens, self.monotonic())
        self._roll_over(usage)
        usage.today += tokens

    def _refuse_tokens(self, usage: _KeyUsage, needed: int) -> Refusal | None:
        """Whether a key may use this many tokens beside those it has reserved."""
        reserved = usage.reserved
        if usage.tokens is not None and (
            wait := usage.tokens.wait(needed, self.monotonic(), reserved)
        ):
            return used_up("tokens per minute", wait)
        self._roll_over(usage)
        day = usage.key.tokens_per_day
        if day is not None and usage.today + reserved + min(needed, day) > day:
            return used_up("tokens per day", _DAY - self.clock() % _DAY)
        return None

    def _roll_over(self, usage: _KeyUsage) -> None:
        """Reset the daily count at the start of a new day."""
        day = int(self.clock() // _DAY)
        if day != usage.day:
            usage.day, usage.today = day, 0

    def _usage(self, key: APIKey) -> _KeyUsage:
        """The key's usage; after a change of its limits it starts with full buckets."""
        known = self._usages.get(key.sha256)
        if known is None:
            known = self._usages[key.sha256] = _KeyUsage(key, *self._buckets(key))
        elif known.key != key:
            known.key = key
            known.requests, known.tokens = self._buckets(key)
        return known

    def _buckets(self, key: APIKey) -> tuple[TokenBucket | None, TokenBucket | None]:
        now = self.monotonic()
        return _bucket(key.requests_per_minute, now), _bucket(key.tokens_per_minute, now)


def _bucket(per_minute: int | None, now: float) -> TokenBucket | None:
    return None if per_minute is None else TokenBucket(per_minute, now)


def too_many_open(count: int) -> Refusal:
    """As many open requests of a key as it may have."""
    return Refusal(f"This key has {count} open requests, the maximum.", 1)


def used_up(what: str, wait: float) -> Refusal:
    """A limit that is used up for so many seconds."""
    return Refusal(f"This key has used up its {what}.", max(1, math.ceil(wait)))


def unchecked() -> APIError:
    """Whatever counts does not answer."""
    what = "The limits of the key cannot be checked."
    return APIError(503, "overloaded", what, retry_after=1)


async def open_or_close(
    asked: Coroutine[Any, Any, Refusal | None], close: Callable[[], None]
) -> Refusal | None:
    """The answer to what opens a request elsewhere.

    Args:
        close: ends the request where there is no answer or nobody waits for one any more: the
            caller gets no ticket to close, and what was asked may be counted yet.

    Raises:
        APIError: there is no answer.
    """
    asking = asyncio.ensure_future(asked)
    try:
        return await asyncio.shield(asking)
    except (APIError, asyncio.CancelledError):
        asking.add_done_callback(lambda _: close())
        raise
