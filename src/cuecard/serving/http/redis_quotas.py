"""What API keys use, counted in a Redis or Valkey server for all servers that ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from cuecard.errors import ConfigError
from cuecard.lazy import import_library
from cuecard.serving.http.auth import APIKey
from cuecard.serving.http.quotas import Refusal, open_or_close, too_many_open, unchecked, used_up
from cuecard.serving.settings import Limits

_EXTRA = "redis"
_SCHEMES = ("redis", "rediss", "unix")
_TIMEOUT = 5.0  # seconds for an answer
_MARGIN = 30.0  # seconds beyond the longest request, after which its server is taken for lost

# One script, so that Redis does each step as a whole, by the rules of `KeyQuotas`; a test compares.
#
# KEYS: what a key has used; its open requests, by when each is taken for lost; their reservations.
# ARGV: operation, ticket, tokens, maximum open requests, seconds until an open request is lost,
#       requests per minute, tokens per minute, tokens per day, time ("": the server's).
# Returns the code of a refusal (0: none) and its seconds or its count.
_SCRIPT = """
local usage, open, reserved = KEYS[1], KEYS[2], KEYS[3]
local operation, ticket, amount, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local rpm, tpm, tpd = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = tonumber(ARGV[9]) or time[1] + time[2] / 1e6

local function text(number) return string.format('%.17g', number) end

local function level(name, per_minute)
  local kept = redis.call('HMGET', usage, name, name .. '_at')
  if not kept[1] then return per_minute end
  local passed = math.max(0, now - tonumber(kept[2]))
  return math.min(per_minute, tonumber(kept[1]) + passed * per_minute / 60)
end

local function take(name, per_minute, cost)
  local left = level(name, per_minute) - cost
  redis.call('HSET', usage, name, text(left), name .. '_at', text(now))
end

local function today()
  local day = tostring(math.floor(now / 86400))
  if redis.call('HGET', usage, 'day') ~= day then
    redis.call('HSET', usage, 'day', day, 'today', '0')
  end
  return tonumber(redis.call('HGET', usage, 'today'))
end

local function refuse_tokens(needed)
  local held = 0
  for _, each in ipairs(redis.call('HVALS', reserved)) do held = held + tonumber(each) end
  if tpm then
    local wait = (math.min(needed, tpm) + held - level('tokens', tpm)) / (tpm / 60)
    if wait > 0 then return {2, text(wait)} end
  end
  if tpd and today() + held + math.min(needed, tpd) > tpd then
    return {3, text(86400 - now % 86400)}
  end
end

local function keep()
  for _, each in ipairs(KEYS) do redis.call('EXPIRE', each, 172800) end
end

for _, lost in ipairs(redis.call('ZRANGEBYSCORE', open, '-inf', text(now))) do
  redis.call('HDEL', reserved, lost)
end
redis.call('ZREMRANGEBYSCORE', open, '-inf', text(now))

local limits = ARGV[6] .. ':' .. ARGV[7]
if redis.call('HGET', usage, 'limits') ~= limits then  -- changed: full buckets
  redis.call('HDEL', usage, 'requests', 'tokens')
  redis.call('HSET', usage, 'limits', limits)
end

if operation == 'open' then
  local count = redis.call('ZCARD', open)
  if count >= most then return {1, tostring(count)} end
  local refusal = refuse_tokens(1)
  if refusal then return refusal end
  if rpm then
    local wait = (1 - level('requests', rpm)) / (rpm / 60)
    if wait > 0 then return {4, text(wait)} end
    take('requests', rpm, 1)
  end
  redis.call('ZADD', open, text(now + ARGV[5]), ticket)
elseif operation == 'reserve' then
  local refusal = refuse_tokens(amount)
  if refusal then return refusal end
  redis.call('ZADD', open, 'NX', text(now + ARGV[5]), ticket)
  redis.call('HINCRBY', reserved, ticket, amount)
else
  redis.call('ZREM', open, ticket)
  redis.call('HDEL', reserved, ticket)
  if tpm then take('tokens', tpm, amount) end
  redis.call('HSET', usage, 'today', tostring(today() + amount))
end
keep()
return {0, '0'}
"""
_USED_UP = {2: "tokens per minute", 3: "tokens per day", 4: "requests per minute"}


class RedisQuotas:
    """`Quotas` in a Redis server. Days end at midnight UTC, by the server's clock.

    A request of a server that has ended without a word stays open until it would have timed out.

    Args:
        url: such as redis://:PASSWORD@HOST:6379/0.
        lost: seconds after which an open request's server is taken for lost.
        clock: seconds since 1970; by default the server's.
    """

    def __init__(self, url: str, lost: float, clock: Callable[[], float] | None = None) -> None:
        library = import_library("redis.asyncio", _EXTRA)
        self._client: Any = library.Redis.from_url(url, **_options())
        self._script: Any = self._client.register_script(_SCRIPT)
        self._lost = lost
        self._clock = clock
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, key: APIKey, ticket: str, most: int) -> Refusal | None:
        """See `Quotas.open`.

        Raises:
            APIError: 503, there is no answer.
        """
        asked = self._ask("open", key, ticket, most=most)
        return await open_or_close(asked, lambda: self.close(key, ticket, 0))

    async def reserve(self, key: APIKey, ticket: str, tokens: int) -> Refusal | None:
        """See `Quotas.reserve`.

        Raises:
            APIError: 503, there is no answer.
        """
        return await self._ask("reserve", key, ticket, tokens)

    def close(self, key: APIKey, ticket: str, tokens: int) -> None:
        """See `Quotas.close`; a request that Redis does not hear of any more is lost in time."""
        task = asyncio.get_running_loop().create_task(self._close(key, ticket, tokens))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Wait for what is being closed, and end the connections."""
        await asyncio.gather(*self._closing)
        await self._client.aclose()

    async def _close(self, key: APIKey, ticket: str, tokens: int) -> None:
        try:
            await self._run("close", key, ticket, tokens, 0)
        except self._failures:
            return

    async def _ask(
        self, operation: str, key: APIKey, ticket: str, tokens: int = 0, most: int = 0
    ) -> Refusal | None:
        try:
            code, value = await self._run(operation, key, ticket, tokens, most)
        except self._failures as error:
            raise unchecked() from error
        if code == 1:
            return too_many_open(int(value))
        return used_up(_USED_UP[code], float(value)) if code else None

    async def _run(
        self, operation: str, key: APIKey, ticket: str, tokens: int, most: int
    ) -> tuple[int, str]:
        # The braces keep a key's three on one node of a cluster.
        of_key = f"cuecard:{{{key.sha256}}}"
        limits = (key.requests_per_minute, key.tokens_per_minute, key.tokens_per_day)
        code, value = await self._script(
            [f"{of_key}:usage", f"{of_key}:open", f"{of_key}:reserved"],
            [
                operation,
                ticket,
                tokens,
                most,
                self._lost,
                *("" if limit is None else limit for limit in limits),
                "" if self._clock is None else repr(self._clock()),
            ],
        )
        return int(code), str(value)

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        return import_library("redis.exceptions", _EXTRA).RedisError, OSError


@asynccontextmanager
async def redis_quotas(url: str, limits: Limits) -> AsyncIterator[RedisQuotas]:
    """The counts of a server with these limits, for as long as the block lasts."""
    longest = limits.header_timeout + limits.body_timeout + limits.timeout
    quotas = RedisQuotas(url, longest + _MARGIN)
    try:
        yield quotas
    finally:
        await quotas.aclose()


def check_redis(url: str) -> None:
    """Ask whether a Redis server is there.

    Raises:
        ConfigError: the URL is none of Redis, the extra is not installed, or nothing answers.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ConfigError(
            "not a Redis URL",
            where="--quotas",
            got=f"{parts.scheme or 'no protocol'}://",
            expected="redis://HOST:PORT, rediss://HOST:PORT or unix://PATH",
        )
    library = import_library("redis", _EXTRA)
    try:
        with library.Redis.from_url(url, **_options()) as client:
            client.ping()
    except (library.RedisError, OSError, ValueError) as error:
        raise ConfigError(
            "cannot reach the Redis server that counts what API keys use",
            where="--quotas",
            # Not the whole URL, which may have a password.
            got=f"{parts.hostname or parts.path}: {error}",
            expected="a Redis or Valkey server that answers",
        ) from error


def _options() -> dict[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": _TIMEOUT,
        "socket_connect_timeout": _TIMEOUT,
    }
