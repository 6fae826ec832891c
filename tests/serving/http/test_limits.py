from __future__ import annotations

from contextlib import ExitStack

import pytest

from cuecard.serving.http.auth import APIKey
from cuecard.serving.http.limits import RateLimiter, TokenBucket
from cuecard.serving.protocol.errors import APIError

DAY = 86_400.0


class Clock:
    now = 10 * DAY

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def key(**limits: int) -> APIKey:
    return APIKey(id="ann", sha256="0" * 64, **limits)


def test_a_bucket_fills_by_the_minute() -> None:
    bucket = TokenBucket(60, 0.0)
    for _ in range(60):
        assert bucket.wait(1, 0.0) == 0
        bucket.take(1)
    assert bucket.wait(1, 0.0) == pytest.approx(1.0)
    assert bucket.wait(1, 0.5) == pytest.approx(0.5)
    assert bucket.wait(1, 1.0) == 0
    bucket.take(1)
    assert bucket.wait(1, 10_000.0) == 0
    bucket.take(90)
    assert bucket.wait(1, 10_000.0) == pytest.approx(31.0)


def test_requests_per_minute(clock: Clock) -> None:
    limiter = RateLimiter(8, clock, clock)
    mine = key(requests_per_minute=2)
    for _ in range(2):
        with limiter.admit(mine):
            pass
    with pytest.raises(APIError) as refused, limiter.admit(mine):
        pass
    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"] == "30"
    clock.now += 30
    with limiter.admit(mine):
        pass
    assert limiter.open == 0


def test_tokens_per_minute_are_paid_afterwards(clock: Clock) -> None:
    limiter = RateLimiter(8, clock, clock)
    mine = key(tokens_per_minute=60)
    with limiter.admit(mine) as admission:
        admission.charge(100)
    with pytest.raises(APIError, match="tokens per minute") as refused, limiter.admit(mine):
        pass
    assert refused.value.retry_after == 41
    clock.now += 41
    with limiter.admit(mine):
        pass


def test_tokens_per_day_begin_anew_at_midnight(clock: Clock) -> None:
    limiter = RateLimiter(8, clock, clock)
    mine = key(tokens_per_day=10)
    clock.now += DAY - 100
    with limiter.admit(mine) as admission:
        admission.charge(10)
    with pytest.raises(APIError, match="tokens per day") as refused, limiter.admit(mine):
        pass
    assert refused.value.retry_after == 100
    clock.now += 100
    with limiter.admit(mine):
        pass


def test_changed_limits_count_from_then_on_and_keep_the_day(clock: Clock) -> None:
    limiter = RateLimiter(8, clock, clock)
    before, after = key(tokens_per_day=10), key(tokens_per_day=20, requests_per_minute=1)
    with limiter.admit(before) as old, limiter.admit(after) as new:
        old.charge(15)
        new.charge(5)
    with pytest.raises(APIError, match="tokens per day"), limiter.admit(after):
        pass


def test_everybody_together(clock: Clock) -> None:
    limiter = RateLimiter(1, clock, clock)
    with limiter.admit(None) as first, limiter.admit(key()) as second:
        with first.running():
            for refused in (second.running(), limiter.admit(key())):
                with pytest.raises(APIError) as told, refused:
                    pass
                assert told.value.status == 503 and told.value.retry_after
        with second.running():
            assert (limiter.open, limiter.running) == (2, 1)
    with pytest.raises(ZeroDivisionError), limiter.admit(None) as failing, failing.running():
        _ = 1 / 0
    assert (limiter.open, limiter.running) == (0, 0)


def test_requests_that_are_still_arriving_hold_no_place(clock: Clock) -> None:
    limiter = RateLimiter(2, clock, clock)
    with ExitStack() as arriving:
        for _ in range(7):
            arriving.enter_context(limiter.admit(None))
        with limiter.admit(None) as admission, admission.running():
            pass
        arriving.enter_context(limiter.admit(None))
        with pytest.raises(APIError) as told, limiter.admit(None):
            pass
        assert told.value.status == 503


def test_one_keys_open_requests(clock: Clock) -> None:
    limiter = RateLimiter(100, clock, clock, max_per_key=3)
    ann = key()
    bob = APIKey(id="bob", sha256="1" * 64, concurrent_requests=1)
    with ExitStack() as opened:
        for mine, most in ((ann, 3), (bob, 1)):
            for _ in range(most):
                opened.enter_context(limiter.admit(mine))
            with pytest.raises(APIError, match="open requests") as told, limiter.admit(mine):
                pass
            assert (told.value.status, told.value.retry_after) == (429, 1)
    for mine in (ann, bob):
        with limiter.admit(mine):
            pass


def test_requests_at_once_pass_no_limit_together(clock: Clock) -> None:
    for limit in ({"tokens_per_minute": 50}, {"tokens_per_day": 50}):
        limiter, mine = RateLimiter(100, clock, clock), key(**limit)
        with ExitStack() as opened:
            admissions = [opened.enter_context(limiter.admit(mine)) for _ in range(12)]
            for admission in admissions[:2]:
                admission.reserve(20)
                admission.charge(9)
            for admission in admissions[2:]:
                with pytest.raises(APIError) as told:
                    admission.reserve(20)
                assert told.value.status == 429
        # What was set aside and not used is there again.
        with limiter.admit(mine) as admission:
            admission.reserve(50 - 18)


def test_what_is_larger_than_a_limit_needs_all_of_it(clock: Clock) -> None:
    limiter, mine = RateLimiter(100, clock, clock), key(tokens_per_minute=50)
    with limiter.admit(mine) as large, limiter.admit(mine) as other:
        large.reserve(500)
        with pytest.raises(APIError, match="tokens per minute"):
            other.reserve(1)
        large.charge(7)
    with limiter.admit(mine) as admission, pytest.raises(APIError, match="tokens per minute"):
        admission.reserve(500)


def test_requests_without_a_key_are_not_counted(clock: Clock) -> None:
    limiter = RateLimiter(1, clock, clock)
    with limiter.admit(None) as admission:
        admission.reserve(10**9)
        admission.charge(10**9)
