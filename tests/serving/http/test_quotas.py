from __future__ import annotations

import pytest

from cuecard.serving.http.auth import APIKey
from cuecard.serving.http.quotas import KeyQuotas, TokenBucket

KEY = APIKey(id="ann", sha256="0" * 64, tokens_per_day=10, concurrent_requests=2)


def test_a_bucket_fills_by_the_minute() -> None:
    bucket = TokenBucket(60, 0.0)
    for _ in range(60):
        assert bucket.wait(1, 0.0) == 0
        bucket.take(1, 0.0)
    assert bucket.wait(1, 0.0) == pytest.approx(1.0)
    assert bucket.wait(1, 0.5) == pytest.approx(0.5)
    assert bucket.wait(1, 1.0) == 0
    bucket.take(1, 1.0)
    assert bucket.wait(1, 10_000.0) == 0
    bucket.take(90, 10_060.0)  # it was full, and no fuller for the minute since
    assert bucket.wait(1, 10_060.0) == pytest.approx(31.0)


@pytest.mark.anyio
async def test_a_ticket_is_released_once() -> None:
    counts = KeyQuotas()
    assert await counts.open(KEY, "a", 2) is None and await counts.open(KEY, "b", 2) is None
    refusal = await counts.open(KEY, "c", 2)
    assert refusal is not None and refusal.retry_after == 1
    assert await counts.reserve(KEY, "a", 6) is None
    assert await counts.reserve(KEY, "b", 5) is not None
    for _ in range(2):
        counts.close(KEY, "a", 0)
    assert await counts.open(KEY, "c", 2) is None and await counts.open(KEY, "d", 2) is not None
    assert await counts.reserve(KEY, "b", 10) is None


@pytest.mark.anyio
async def test_what_was_used_counts_without_its_ticket() -> None:
    counts = KeyQuotas()
    counts.close(KEY, "of a server that was taken for lost", 9)
    assert await counts.open(KEY, "a", 2) is None
    assert await counts.reserve(KEY, "a", 2) is not None
    assert await counts.reserve(KEY, "a", 1) is None
