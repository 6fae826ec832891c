"""Concurrency and rate limits, per API key and overall."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cuecard.serving.http.auth import APIKey
from cuecard.serving.protocol.errors import APIError

_DAY = 86_400.0
_OPEN_FACTOR = 4
"""Open requests, including those whose bodies are arriving, as a multiple of running ones."""


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
        self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (min(needed, self._capacity) + reserved - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take an amount, even below zero."""
        self._level -= amount


@dataclass
class _KeyUsage:
    """What one key has used.

    Attributes:
        open: its open requests.
        reserved: tokens that these may still use.
        day: days since 1970.
        today: tokens used on that day.
    """

    key: APIKey
    requests: TokenBucket | None
    tokens: TokenBucket | None
    open: int = 0
    reserved: int = 0
    day: int = -1
    today: int = 0


@dataclass
class RateLimiter:
    """Enforces the limits of each key and of the server.

    Days end at midnight UTC. Counts are kept in memory and start at zero with the process.

    Attributes:
        max_running: maximum running requests.
        max_per_key: maximum open requests of one key.
        open: requests admitted and not finished.
        running: those whose bodies have arrived.
    """

    max_running: int
    monotonic: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    max_per_key: int = 128
    open: int = 0
    running: int = 0
    _usages: dict[str, _KeyUsage] = field(default_factory=dict)

    @contextmanager
    def admit(self, key: APIKey | None) -> Iterator[Admission]:
        """Admit a request for the duration of the block, before its body is read.

        Raises:
            APIError: 503 if too many are running or arriving, 429 if the key's limits are used up.
        """
        usage = None if key is None else self._usage(key)
        self.check_capacity()
        if self.open >= _OPEN_FACTOR * self.max_running:
            raise _overloaded()
        if usage is not None:
            self._check(usage)
        admission = Admission(self, usage)
        self.open += 1
        if usage is not None:
            usage.open += 1
        try:
            yield admission
        finally:
            self.open -= 1
            if usage is not None:
                usage.open -= 1
            admission.release()

    def check_capacity(self) -> None:
        """Check that one more request may run.

        Raises:
            APIError: 503.
        """
        if self.running >= self.max_running:
            raise _overloaded()

    def check_tokens(self, usage: _KeyUsage, needed: int) -> None:
        """Check that a key may use this many tokens beside those it has reserved.

        Raises:
            APIError: 429.
        """
        reserved = usage.reserved
        if usage.tokens is not None and (
            wait := usage.tokens.wait(needed, self.monotonic(), reserved)
        ):
            raise _quota_exceeded("tokens per minute", wait)
        self.roll_over(usage)
        day = usage.key.tokens_per_day
        if day is not None and usage.today + reserved + min(needed, day) > day:
            raise _quota_exceeded("tokens per day", _DAY - self.clock() % _DAY)

    def roll_over(self, usage: _KeyUsage) -> None:
        """Reset the daily count at the start of a new day."""
        day = int(self.clock() // _DAY)
        if day != usage.day:
            usage.day, usage.today = day, 0

    def _check(self, usage: _KeyUsage) -> None:
        most = usage.key.concurrent_requests or self.max_per_key
        if usage.open >= most:
            raise APIError(
                429,
                "rate_limit_exceeded",
                f"This key has {usage.open} open requests, the maximum.",
                retry_after=1,
            )
        self.check_tokens(usage, 1)
        if usage.requests is not None:
            if wait := usage.requests.wait(1.0, self.monotonic()):
                raise _quota_exceeded("requests per minute", wait)
            usage.requests.take(1.0)

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


class Admission:
    """One admitted request."""

    def __init__(self, limiter: RateLimiter, usage: _KeyUsage | None) -> None:
        self._limiter = limiter
        self._usage = usage
        self._reserved = 0

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

    def reserve(self, tokens: int) -> None:
        """Reserve the maximum number of tokens the request can use, until it ends.

        Without it, concurrent requests could exceed a limit that each of them respects.

        Raises:
            APIError: 429 if the key has fewer left; one above the whole limit needs all of it.
        """
        if self._usage is None:
            return
        self._limiter.check_tokens(self._usage, tokens)
        self._usage.reserved += tokens
        self._reserved += tokens

    def charge(self, tokens: int) -> None:
        """Count the tokens the request used."""
        usage = self._usage
        if usage is None:
            return
        if usage.tokens is not None:
            usage.tokens.take(tokens)
        self._limiter.roll_over(usage)
        usage.today += tokens

    def release(self) -> None:
        """Release the reservation."""
        if self._usage is not None:
            self._usage.reserved -= self._reserved
        self._reserved = 0


def _bucket(per_minute: int | None, now: float) -> TokenBucket | None:
    return None if per_minute is None else TokenBucket(per_minute, now)


def _overloaded() -> APIError:
    return APIError(503, "overloaded", "Too many concurrent requests.", retry_after=1)


def _quota_exceeded(what: str, wait: float) -> APIError:
    return APIError(
        429,
        "rate_limit_exceeded",
        f"This key has used up its {what}.",
        retry_after=max(1, math.ceil(wait)),
    )
