from __future__ import annotations

import pytest

from cuecard.serving.keys import Key
from cuecard.serving.limits import Bucket, Meter
from cuecard.serving.refusals import Refusal

DAY = 86_400.0


class Clock:
    now = 10 * DAY

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def key(**limits: int) -> Key:
    return Key(id="ann", sha256="0" * 64, **limits)


def test_a_bucket_fills_by_the_minute() -> None:
    bucket = Bucket(60, 0.0)
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
    meter = Meter(8, clock, clock)
    mine = key(requests_per_minute=2)
    for _ in range(2):
        with meter.request(mine):
            pass
    with pytest.raises(Refusal) as refused, meter.request(mine):
        pass
    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"] == "30"
    clock.now += 30
    with meter.request(mine):
        pass
    assert meter.open == 0


def test_tokens_per_minute_are_paid_afterwards(clock: Clock) -> None:
    meter = Meter(8, clock, clock)
    mine = key(tokens_per_minute=60)
    with meter.request(mine):
        meter.charge(mine, 100)
    with pytest.raises(Refusal, match="tokens per minute") as refused, meter.request(mine):
        pass
    assert refused.value.retry_after == 41
    clock.now += 41
    with meter.request(mine):
        pass


def test_tokens_per_day_begin_anew_at_midnight(clock: Clock) -> None:
    meter = Meter(8, clock, clock)
    mine = key(tokens_per_day=10)
    clock.now += DAY - 100
    with meter.request(mine):
        meter.charge(mine, 10)
    with pytest.raises(Refusal, match="tokens per day") as refused, meter.request(mine):
        pass
    assert refused.value.retry_after == 100
    clock.now += 100
    with meter.request(mine):
        pass


def test_changed_limits_count_from_then_on_and_keep_the_day(clock: Clock) -> None:
    meter = Meter(8, clock, clock)
    before, after = key(tokens_per_day=10), key(tokens_per_day=20, requests_per_minute=1)
    with meter.request(before):
        meter.charge(before, 15)
    with meter.request(after):
        meter.charge(after, 5)
    with pytest.raises(Refusal, match="tokens per day"), meter.request(after):
        pass


def test_everybody_together(clock: Clock) -> None:
    meter = Meter(1, clock, clock)
    with meter.request(None):
        with pytest.raises(Refusal) as refused, meter.request(key()):
            pass
        assert refused.value.status == 503 and refused.value.retry_after
    with pytest.raises(ZeroDivisionError), meter.request(None):
        _ = 1 / 0
    assert meter.open == 0
