"""How much each key, and everybody together, may ask for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cuecard.serving.http.auth import APIKey
from cuecard.serving.protocol.errors import APIError

_DAY = 86_400.0
_PER_KEY = 128
_ARRIVING = 4
"""So many times the running requests may be open, their bodies on the way."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes.

    Attributes:
        body_bytes: of a request.
        texts: inputs of one request, times the prompts it names.
        characters: of one input.
        new_tokens: of one answer.
        requests: concurrent requests, counted from when their bodies are there; more are refused,
            not queued.
        requests_per_key: open requests of one key, those included whose bodies are arriving.
        head_seconds: for a request's head to arrive.
        body_seconds: for its body.
        seconds: for its answer.
        drain_seconds: for what is at work when the server is told to end.
    """

    body_bytes: int = 1 << 20
    texts: int = 256
    characters: int = 1 << 17
    new_tokens: int = 1024
    requests: int = 256
    requests_per_key: int = _PER_KEY
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    seconds: float = 120.0
    drain_seconds: float = 60.0


class TokenBucket:
    """A token bucket: so much a minute, and at most a minute's worth at once.

    What costs more than a minute's worth needs a full bucket, and takes it below zero.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self._most = float(per_minute)
        self._rate = per_minute / 60.0
        self._level = self._most
        self._at = now

    def wait(self, needed: float, now: float, reserved: float = 0.0) -> float:
        """Seconds until there is so much beside what is reserved; 0 if there is."""
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (min(needed, self._most) + reserved - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take so much, there or not."""
        self._level -= amount


@dataclass
class _KeyUsage:
    """What one key has used.

    Attributes:
        open: its open requests.
        reserved: tokens that these may still use.
        day, today: the tokens used on one day, counted since 1970.
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
    """Counts what each key uses, and everybody together.

    Days end at midnight UTC. Counts are this process's own, and begin anew with it.

    Attributes:
        most: concurrent requests.
        max_per_key: open requests of one key.
        open: requests that were let in and are not over.
        running: those of them whose bodies are there.
    """

    most: int
    monotonic: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    max_per_key: int = _PER_KEY
    open: int = 0
    running: int = 0
    _accounts: dict[str, _KeyUsage] = field(default_factory=dict)

    @contextmanager
    def admit(self, key: APIKey | None) -> Iterator[Admission]:
        """Let a request in, for as long as the block runs; its body need not be there.

        Raises:
            APIError: 503 where too many are running or arriving, 429 where the key has used up what
                it has.
        """
        account = None if key is None else self._account(key)
        self.check_capacity()
        if self.open >= _ARRIVING * self.most:
            raise _overloaded()
        if account is not None:
            self._check(account)
        admission = Admission(self, account)
        self.open += 1
        if account is not None:
            account.open += 1
        try:
            yield admission
        finally:
            self.open -= 1
            if account is not None:
                account.open -= 1
            admission.release()

    def check_capacity(self) -> None:
        """Make sure that one more request may run.

        Raises:
            APIError: 503 if it may not.
        """
        if self.running >= self.most:
            raise _overloaded()

    def check_tokens(self, account: _KeyUsage, needed: int) -> None:
        """Make sure that a key may use so many tokens beside those that are reserved.

        Raises:
            APIError: 429 if it may not.
        """
        reserved = account.reserved
        if account.tokens is not None and (
            wait := account.tokens.wait(needed, self.monotonic(), reserved)
        ):
            raise _used_up("tokens per minute", wait)
        self.turn(account)
        day = account.key.tokens_per_day
        if day is not None and account.today + reserved + min(needed, day) > day:
            raise _used_up("tokens per day", _DAY - self.clock() % _DAY)

    def turn(self, account: _KeyUsage) -> None:
        """Begin a new day where there is one."""
        day = int(self.clock() // _DAY)
        if day != account.day:
            account.day, account.today = day, 0

    def _check(self, account: _KeyUsage) -> None:
        most = account.key.concurrent_requests or self.max_per_key
        if account.open >= most:
            raise APIError(
                429,
                "rate_limit_exceeded",
                f"This key has {account.open} open requests, as many as it may.",
                retry_after=1,
            )
        self.check_tokens(account, 1)
        if account.requests is not None:
            if wait := account.requests.wait(1.0, self.monotonic()):
                raise _used_up("requests per minute", wait)
            account.requests.take(1.0)

    def _account(self, key: APIKey) -> _KeyUsage:
        """The key's account; a key whose limits were changed starts with full buckets."""
        known = self._accounts.get(key.sha256)
        if known is None:
            known = self._accounts[key.sha256] = _KeyUsage(key, *self._buckets(key))
        elif known.key != key:
            known.key = key
            known.requests, known.tokens = self._buckets(key)
        return known

    def _buckets(self, key: APIKey) -> tuple[TokenBucket | None, TokenBucket | None]:
        now = self.monotonic()
        return _bucket(key.requests_per_minute, now), _bucket(key.tokens_per_minute, now)


class Admission:
    """One request that was let in."""

    def __init__(self, limiter: RateLimiter, account: _KeyUsage | None) -> None:
        self._limiter = limiter
        self._account = account
        self._reserved = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold a place among the running requests.

        Raises:
            APIError: 503 where there is none.
        """
        self._limiter.check_capacity()
        self._limiter.running += 1
        try:
            yield
        finally:
            self._limiter.running -= 1

    def reserve(self, tokens: int) -> None:
        """Set aside the most tokens that the request can use, until it is over.

        Requests at the same time so cannot pass a limit together that each of them keeps.

        Raises:
            APIError: 429 where the key does not have so many left; a request that is larger than
                the whole limit needs all of it.
        """
        if self._account is None:
            return
        self._limiter.check_tokens(self._account, tokens)
        self._account.reserved += tokens
        self._reserved += tokens

    def charge(self, tokens: int) -> None:
        """Count what the request took."""
        account = self._account
        if account is None:
            return
        if account.tokens is not None:
            account.tokens.take(tokens)
        self._limiter.turn(account)
        account.today += tokens

    def release(self) -> None:
        """Give back what was reserved."""
        if self._account is not None:
            self._account.reserved -= self._reserved
        self._reserved = 0


def _bucket(per_minute: int | None, now: float) -> TokenBucket | None:
    return None if per_minute is None else TokenBucket(per_minute, now)


def _overloaded() -> APIError:
    return APIError(503, "overloaded", "Too many concurrent requests.", retry_after=1)


def _used_up(what: str, wait: float) -> APIError:
    return APIError(
        429,
        "rate_limit_exceeded",
        f"This key has used up its {what}.",
        retry_after=max(1, math.ceil(wait)),
    )
