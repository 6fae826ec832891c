"""Counts that several replicas share, without a cluster."""

from __future__ import annotations

from contextvars import ContextVar
from types import SimpleNamespace

import pytest

from cuecard.serving.http.auth import APIKey
from cuecard.serving.on_ray.key_counts import KeyCounts, RayQuotas
from support.needs_ray import needs_ray

pytestmark = pytest.mark.anyio
KEY = APIKey(id="ann", sha256="0" * 64, tokens_per_day=10)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_replicas_share_a_keys_limits() -> None:
    counts = KeyCounts()
    assert await counts.open("one", KEY, "a", 2) is None
    assert await counts.open("two", KEY, "b", 2) is None
    for replica in ("one", "two"):
        assert await counts.open(replica, KEY, "c", 2) is not None
    assert await counts.reserve("one", KEY, "a", 6) is None
    assert await counts.reserve("two", KEY, "b", 5) is not None
    await counts.close("one", KEY, "a", 4)
    assert await counts.reserve("two", KEY, "b", 7) is not None
    assert await counts.reserve("two", KEY, "b", 6) is None


async def test_a_lost_replicas_requests_are_ended() -> None:
    clock = Clock()
    counts = KeyCounts(clock)
    for replica in ("lost", "there"):
        await counts.renew(replica)
        assert await counts.open(replica, KEY, replica, 2) is None
        assert await counts.reserve(replica, KEY, replica, 5) is None
    clock.now += 9
    await counts.renew("there")
    assert await counts.open("there", KEY, "next", 2) is not None
    clock.now += 2
    assert await counts.open("there", KEY, "next", 2) is None
    assert await counts.open("there", KEY, "more", 2) is not None
    assert await counts.reserve("there", KEY, "next", 6) is not None
    assert await counts.reserve("there", KEY, "next", 5) is None


async def test_a_replica_taken_for_lost_still_pays() -> None:
    clock = Clock()
    counts = KeyCounts(clock)
    assert await counts.open("slow", KEY, "a", 1) is None
    clock.now += 11
    assert await counts.open("other", KEY, "b", 1) is None
    await counts.close("slow", KEY, "a", 8)
    assert await counts.reserve("other", KEY, "b", 3) is not None
    assert await counts.reserve("other", KEY, "b", 2) is None


async def test_a_request_that_the_count_did_not_see_open_ends_with_its_replica() -> None:
    clock = Clock()
    counts = KeyCounts(clock)
    assert await counts.reserve("lost", KEY, "a", 9) is None
    assert await counts.open("there", KEY, "b", 1) is not None
    clock.now += 11
    assert await counts.open("there", KEY, "b", 1) is None
    assert await counts.reserve("there", KEY, "b", 10) is None


@needs_ray
@pytest.mark.filterwarnings("ignore:Using extra keyword arguments")  # Ray's, of pydantic
async def test_a_request_is_closed_in_no_requests_context() -> None:
    """Ray finds the calls that it cancels with a request by the context they are made in."""
    request: ContextVar[str] = ContextVar("request", default="none")
    closed = []
    close = SimpleNamespace(remote=lambda *told: closed.append((request.get(), *told[1:])))
    request.set("cancelled")
    RayQuotas(SimpleNamespace(close=close)).close(KEY, "a", 3)
    assert closed == [("none", KEY, "a", 3)]
