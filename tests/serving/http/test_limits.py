from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from cuecard.serving.http.auth import APIKey
from cuecard.serving.http.limits import RateLimiter
from cuecard.serving.http.quotas import KeyQuotas
from cuecard.serving.protocol.errors import APIError

pytestmark = pytest.mark.anyio
DAY = 86_400.0


class Clock:
    now = 10 * DAY

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limited(clock: Clock, running: int, per_key: int = 128) -> RateLimiter:
    return RateLimiter(running, per_key, KeyQuotas(clock, clock))


async def refused(limiter: RateLimiter, mine: APIKey | None, match: str | None = None) -> APIError:
    with pytest.raises(APIError, match=match) as told:
        async with limiter.admit(mine):
            pass
    return told.value


async def failing(limiter: RateLimiter) -> None:
    async with limiter.admit(None) as admission:
        with admission.running():
            _ = 1 / 0


def key(**limits: int) -> APIKey:
    return APIKey(id="ann", sha256="0" * 64, **limits)


async def test_requests_per_minute(clock: Clock) -> None:
    limiter = limited(clock, 8)
    mine = key(requests_per_minute=2)
    for _ in range(2):
        async with limiter.admit(mine):
            pass
    refusal = await refused(limiter, mine)
    assert refusal.status == 429
    assert refusal.headers["Retry-After"] == "30"
    clock.now += 30
    async with limiter.admit(mine):
        pass
    assert limiter.open == 0


async def test_tokens_per_minute_are_paid_afterwards(clock: Clock) -> None:
    limiter = limited(clock, 8)
    mine = key(tokens_per_minute=60)
    async with limiter.admit(mine) as admission:
        admission.charge(100)
    refusal = await refused(limiter, mine, "tokens per minute")
    assert refusal.retry_after == 41
    clock.now += 41
    async with limiter.admit(mine):
        pass


async def test_tokens_per_day_begin_anew_at_midnight(clock: Clock) -> None:
    limiter = limited(clock, 8)
    mine = key(tokens_per_day=10)
    clock.now += DAY - 100
    async with limiter.admit(mine) as admission:
        admission.charge(10)
    refusal = await refused(limiter, mine, "tokens per day")
    assert refusal.retry_after == 100
    clock.now += 100
    async with limiter.admit(mine):
        pass


async def test_changed_limits_count_from_then_on_and_keep_the_day(clock: Clock) -> None:
    limiter = limited(clock, 8)
    before, after = key(tokens_per_day=10), key(tokens_per_day=20, requests_per_minute=1)
    async with limiter.admit(before) as old, limiter.admit(after) as new:
        old.charge(15)
        new.charge(5)
    await refused(limiter, after, "tokens per day")


async def test_everybody_together(clock: Clock) -> None:
    limiter = limited(clock, 1)
    async with limiter.admit(None) as first, limiter.admit(key()) as second:
        with first.running():
            with pytest.raises(APIError) as told, second.running():
                pass
            for refusal in (told.value, await refused(limiter, key())):
                assert refusal.status == 503 and refusal.retry_after
        with second.running():
            assert (limiter.open, limiter.running) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        await failing(limiter)
    assert (limiter.open, limiter.running) == (0, 0)


async def test_requests_that_are_still_arriving_hold_no_place(clock: Clock) -> None:
    limiter = limited(clock, 2)
    async with AsyncExitStack() as arriving:
        for _ in range(7):
            await arriving.enter_async_context(limiter.admit(None))
        async with limiter.admit(None) as admission:
            with admission.running():
                pass
        await arriving.enter_async_context(limiter.admit(None))
        assert (await refused(limiter, None)).status == 503


async def test_one_keys_open_requests(clock: Clock) -> None:
    limiter = limited(clock, 100, 3)
    ann = key()
    bob = APIKey(id="bob", sha256="1" * 64, concurrent_requests=1)
    async with AsyncExitStack() as opened:
        for mine, most in ((ann, 3), (bob, 1)):
            for _ in range(most):
                await opened.enter_async_context(limiter.admit(mine))
            refusal = await refused(limiter, mine, "open requests")
            assert (refusal.status, refusal.retry_after) == (429, 1)
    for mine in (ann, bob):
        async with limiter.admit(mine):
            pass


async def test_requests_at_once_pass_no_limit_together(clock: Clock) -> None:
    for limit in ({"tokens_per_minute": 50}, {"tokens_per_day": 50}):
        limiter, mine = limited(clock, 100), key(**limit)
        async with AsyncExitStack() as opened:
            admissions = [await opened.enter_async_context(limiter.admit(mine)) for _ in range(12)]
            for admission in admissions[:2]:
                await admission.reserve(20)
                admission.charge(9)
            for admission in admissions[2:]:
                with pytest.raises(APIError) as told:
                    await admission.reserve(20)
                assert told.value.status == 429
        # What was set aside and not used is there again.
        async with limiter.admit(mine) as admission:
            await admission.reserve(50 - 18)


async def test_what_is_larger_than_a_limit_needs_all_of_it(clock: Clock) -> None:
    limiter, mine = limited(clock, 100), key(tokens_per_minute=50)
    async with limiter.admit(mine) as large, limiter.admit(mine) as other:
        await large.reserve(500)
        with pytest.raises(APIError, match="tokens per minute"):
            await other.reserve(1)
        large.charge(7)
    async with limiter.admit(mine) as admission:
        with pytest.raises(APIError, match="tokens per minute"):
            await admission.reserve(500)


async def test_requests_without_a_key_are_not_counted(clock: Clock) -> None:
    limiter = limited(clock, 1)
    async with limiter.admit(None) as admission:
        await admission.reserve(10**9)
        admission.charge(10**9)
