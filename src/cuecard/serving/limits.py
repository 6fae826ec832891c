"""How much each key, and everybody together, may ask for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cuecard.serving.keys import Key
from cuecard.serving.refusals import Refusal

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes.

    Attributes:
        body_bytes: of a request.
        texts: inputs of one request, times the prompts it names.
        characters: of one input.
        new_tokens: of one answer.
        requests: at work at once; more are refused, not queued.
        body_seconds: for a request to arrive.
        seconds: for its answer.
        drain_seconds: for what is at work when the server is told to end.
    """

    body_bytes: int = 1 << 20
    texts: int = 256
    characters: int = 1 << 17
    new_tokens: int = 1024
    requests: int = 256
    body_seconds: float = 30.0
    seconds: float = 120.0
    drain_seconds: float = 60.0


class Bucket:
    """A token bucket: so much a minute, and at most a minute's worth at once.

    What costs more than was known beforehand is charged afterwards, and may take it below zero.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self._most = float(per_minute)
        self._rate = per_minute / 60.0
        self._level = self._most
        self._at = now

    def wait(self, needed: float, now: float) -> float:
        """Seconds until there is so much; 0 if there is."""
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (min(needed, self._most) - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take so much, there or not."""
        self._level -= amount


@dataclass
class _Account:
    """What one key has used."""

    key: Key
    requests: Bucket | None
    tokens: Bucket | None
    day: int = -1
    today: int = 0


@dataclass
class Meter:
    """Counts what each key uses, and everybody together.

    Days end at midnight UTC. Counts are this process's own, and begin anew with it.

    Attributes:
        most: requests at work at once.
        open: how many there are.
    """

    most: int
    monotonic: Callable[[], float] = time.monotonic
    clock: Callable[[], float] = time.time
    open: int = 0
    _accounts: dict[str, _Account] = field(default_factory=dict)

    @contextmanager
    def request(self, key: Key | None) -> Iterator[None]:
        """Let a request in, for as long as the block runs.

        Raises:
            Refusal: 503 where too many are at work, 429 where the key has used up what it has.
        """
        if self.open >= self.most:
            raise Refusal(
                503, "overloaded", "The server has as many requests as it takes.", retry_after=1
            )
        if key is not None:
            self._admit(self._account(key))
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def charge(self, key: Key | None, tokens: int) -> None:
        """Count what an answer took."""
        if key is None:
            return
        account = self._account(key)
        if account.tokens is not None:
            account.tokens.take(tokens)
        self._turn(account)
        account.today += tokens

    def _admit(self, account: _Account) -> None:
        now = self.monotonic()
        if account.tokens is not None and (wait := account.tokens.wait(1.0, now)):
            raise _used_up("tokens per minute", wait)
        self._turn(account)
        day = account.key.tokens_per_day
        if day is not None and account.today >= day:
            raise _used_up("tokens per day", _DAY - self.clock() % _DAY)
        if account.requests is not None:
            if wait := account.requests.wait(1.0, now):
                raise _used_up("requests per minute", wait)
            account.requests.take(1.0)

    def _turn(self, account: _Account) -> None:
        day = int(self.clock() // _DAY)
        if day != account.day:
            account.day, account.today = day, 0

    def _account(self, key: Key) -> _Account:
        """The key's account; a key whose limits were changed starts with full buckets."""
        known = self._accounts.get(key.sha256)
        if known is None or known.key != key:
            now = self.monotonic()
            fresh = _Account(
                key, _bucket(key.requests_per_minute, now), _bucket(key.tokens_per_minute, now)
            )
            if known is not None:
                fresh.day, fresh.today = known.day, known.today
            self._accounts[key.sha256] = known = fresh
        return known


def _bucket(per_minute: int | None, now: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, now)


def _used_up(what: str, wait: float) -> Refusal:
    return Refusal(
        429,
        "rate_limit_exceeded",
        f"This key has used up its {what}.",
        retry_after=max(1, math.ceil(wait)),
    )
