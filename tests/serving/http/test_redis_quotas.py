"""Keys' use in Redis: the same answers as in this process, for several servers at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from fakeredis import TcpFakeServer
from hypothesis import given, settings
from hypothesis import strategies as st

from cuecard.errors import ConfigError
from cuecard.serving.http.auth import APIKey
from cuecard.serving.http.limits import RateLimiter
from cuecard.serving.http.quotas import KeyQuotas, Quotas
from cuecard.serving.http.redis_quotas import RedisQuotas, check_redis
from cuecard.serving.protocol.errors import APIError
from cuecard.serving.settings import ServerSettings, check_settings

pytestmark = pytest.mark.anyio
LOST = 100.0


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that speaks Redis' protocol and runs Lua, with a database of its own."""
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@asynccontextmanager
async def counted(
    url: str, clock: Clock | None = None, lost: float = LOST
) -> AsyncIterator[RedisQuotas]:
    quotas = RedisQuotas(url, lost, clock)
    try:
        yield quotas
    finally:
        await quotas.aclose()


async def closed(quotas: Quotas, key: APIKey, ticket: str, tokens: int) -> None:
    """Closed, and counted."""
    quotas.close(key, ticket, tokens)
    if isinstance(quotas, RedisQuotas):
        await asyncio.gather(*quotas._closing)


def some_key(**limits: Any) -> APIKey:
    some_key.number += 1  # type: ignore[attr-defined]
    return APIKey(id="ann", sha256=f"{some_key.number:064x}", **limits)  # type: ignore[attr-defined]


some_key.number = 0  # type: ignore[attr-defined]

_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "reserve", "close", "wait"]),
        st.sampled_from("abc"),
        st.integers(0, 40),
    ),
    max_size=15,
)
_LIMITS = st.fixed_dictionaries(
    {
        name: st.one_of(st.none(), st.integers(1, most))
        for name, most in (
            ("requests_per_minute", 5),
            ("tokens_per_minute", 60),
            ("tokens_per_day", 120),
        )
    }
)


@settings(max_examples=40, deadline=None)
@given(limits=_LIMITS, steps=_STEPS)
def test_redis_answers_as_this_process_does(
    url: str, limits: dict[str, int | None], steps: list[tuple[str, str, int]]
) -> None:
    """Whatever is asked: the same refusals, with the same seconds, to a second."""

    async def ask() -> None:
        clock, key = Clock(), some_key(**limits)
        here = KeyQuotas(clock, clock)
        async with counted(url, clock, lost=1e6) as there:
            for operation, ticket, amount in steps:
                if operation == "wait":
                    clock.now += amount
                elif operation == "close":
                    for one in (here, there):
                        await closed(one, key, ticket, amount)
                else:
                    of = [
                        await (
                            one.open(key, ticket, 2)
                            if operation == "open"
                            else one.reserve(key, ticket, amount)
                        )
                        for one in (cast("Quotas", here), there)
                    ]
                    assert (of[0] is None) == (of[1] is None)
                    if of[0] is not None and of[1] is not None:
                        assert of[0].what == of[1].what
                        assert abs(of[0].retry_after - of[1].retry_after) <= 1

    asyncio.run(ask())


async def test_servers_count_together(url: str) -> None:
    key = some_key(requests_per_minute=7, concurrent_requests=100)
    async with counted(url) as one, counted(url) as two:
        limiters = [RateLimiter(100, quotas=quotas) for quotas in (one, two)]

        async def request(limiter: RateLimiter) -> bool:
            try:
                async with limiter.admit(key):
                    return True
            except APIError as error:
                return error.status != 429

        answers = await asyncio.gather(*(request(limiters[n % 2]) for n in range(40)))
    assert sum(answers) == 7


async def test_a_lost_servers_requests_end_in_time(url: str) -> None:
    clock, key = Clock(), some_key(tokens_per_day=10)
    async with counted(url, clock) as lost, counted(url, clock) as there:
        assert await lost.open(key, "a", 1) is None and await lost.reserve(key, "a", 8) is None
        clock.now += LOST - 1
        refusal = await there.open(key, "b", 1)
        assert refusal is not None and "1 open requests" in refusal.what
        clock.now += 1
        assert await there.open(key, "b", 1) is None
        assert await there.reserve(key, "b", 10) is None
        await closed(lost, key, "a", 4)  # it was there after all, and pays
        await closed(there, key, "b", 6)
        refusal = await there.open(key, "c", 1)
        assert refusal is not None and "tokens per day" in refusal.what


async def test_a_key_whose_limits_change(url: str) -> None:
    key = some_key(requests_per_minute=1)
    async with counted(url) as quotas:
        assert await quotas.open(key, "a", 9) is None
        assert await quotas.open(key, "b", 9) is not None
        more = key.model_copy(update={"requests_per_minute": 2})
        assert await quotas.open(more, "b", 9) is None and await quotas.open(more, "c", 9) is None
        assert await quotas.open(more, "d", 9) is not None


async def test_what_is_kept_expires(url: str) -> None:
    key = some_key(tokens_per_minute=10)
    async with counted(url) as quotas:
        await quotas.open(key, "a", 9)
        await quotas.reserve(key, "a", 2)
        names = [name async for name in quotas._client.scan_iter(f"*{key.sha256}*")]
        assert len(names) == 3
        assert all([0 < await quotas._client.ttl(name) <= 2 * 86_400 for name in names])
        await closed(quotas, key, "a", 1)
        (left,) = [name async for name in quotas._client.scan_iter(f"*{key.sha256}*")]
        assert left.endswith(":usage")


async def test_a_server_that_does_not_answer() -> None:
    """The caller hears that it cannot be checked; nothing is left open, closing fails silently."""
    async with counted("redis://127.0.0.1:9") as quotas:
        for asked in (quotas.open(some_key(), "a", 1), quotas.reserve(some_key(), "a", 1)):
            with pytest.raises(APIError, match="cannot be checked") as refused:
                await asked
            assert (refused.value.status, refused.value.retry_after) == (503, 1)
        await closed(quotas, some_key(), "a", 1)


def test_what_is_refused_at_the_start(url: str) -> None:
    check_redis(url)
    with pytest.raises(ConfigError, match="not a Redis URL") as refused:
        check_redis("http://localhost:6379")
    assert refused.value.got == "http://"
    with pytest.raises(ConfigError, match="cannot reach the Redis server") as refused:
        check_redis("redis://:secret@127.0.0.1:9")
    assert "127.0.0.1" in str(refused.value) and "secret" not in str(refused.value)
    with pytest.raises(ConfigError, match="there are none"):
        check_settings(ServerSettings(quotas=url))
