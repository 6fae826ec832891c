"""The application with everything behind it: an engine, a catalog that follows a registry, keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from cuecard.engine.protocol import Engine
from cuecard.errors import CuecardError
from cuecard.registry import Registry
from cuecard.serving.api.app import ServerComponents, build_app
from cuecard.serving.api.service import Service
from cuecard.serving.http.auth import KeyStore, read_keys
from cuecard.serving.http.limits import RateLimiter
from cuecard.serving.http.metrics import Metrics
from cuecard.serving.http.middleware import ShutdownState
from cuecard.serving.http.quotas import KeyQuotas, Quotas
from cuecard.serving.http.redis_quotas import check_redis, redis_quotas
from cuecard.serving.logs import JsonLog
from cuecard.serving.models.catalog import PromptCatalog
from cuecard.serving.models.disk_cache import DiskCache
from cuecard.serving.models.sync import RegistrySync
from cuecard.serving.settings import ServerSettings, check_settings


@dataclass(frozen=True, slots=True)
class OpenApp:
    """An application that can answer, and what its host needs to know of it."""

    app: ASGIApp
    engine: Engine
    catalog: PromptCatalog
    limiter: RateLimiter
    shutdown: ShutdownState


@asynccontextmanager
async def open_app(
    engine: Engine,
    backbone: str,
    registry: Registry,
    settings: ServerSettings,
    log: JsonLog,
    quotas: Quotas | None = None,
) -> AsyncIterator[OpenApp]:
    """The application of a registry, which is polled inside the block; the engine ends with it.

    Args:
        backbone: the name of the model without a prompt.
        quotas: where the keys' use is counted; by default as the settings say.

    Raises:
        ConfigError: an unreadable key file.
        RegistryError: no registry, and nothing cached from an earlier run.
    """
    keys = None if settings.keys is None else KeyStore(settings.keys)
    cache = _cache(settings, registry)
    await asyncio.to_thread(_check_registry, registry, cache)
    async with AsyncExitStack() as stack:
        await engine.start()
        stack.push_async_callback(engine.close)
        catalog = PromptCatalog(engine, backbone)
        sync = RegistrySync(
            registry, catalog, cache, log, trusted=settings.trusted, versions=settings.versions
        )
        await sync.start()
        limits = settings.limits.on(images=engine.images is not None)
        if quotas is None:
            quotas = await stack.enter_async_context(_quotas(settings))
        limiter = RateLimiter(limits.max_requests, limits.max_requests_per_key, quotas)
        shutdown = ShutdownState()
        components = ServerComponents(
            Service(engine, catalog, limits, settings.system_messages),
            sync.state,
            limiter,
            Metrics(engine, catalog, limiter, sync.state),
            keys,
            shutdown,
            log,
            cors=settings.cors,
        )
        stack.push_async_callback(end_task, asyncio.create_task(sync.run(settings.poll)))
        yield OpenApp(build_app(components), engine, catalog, limiter, shutdown)


@asynccontextmanager
async def _quotas(settings: ServerSettings) -> AsyncIterator[Quotas]:
    """Where the settings say that keys' use is counted."""
    if settings.quotas is None:
        yield KeyQuotas()
        return
    async with redis_quotas(settings.quotas, settings.limits) as shared:
        yield shared


def check_app(settings: ServerSettings, registry: Registry) -> None:
    """Find what would keep an application from opening, before a backbone is loaded for it.

    Raises:
        ConfigError: as `check_settings`, an unreadable key file, or no Redis server.
        RegistryError: no registry, and nothing cached from an earlier run.
    """
    check_settings(settings)
    if settings.keys is not None:
        read_keys(settings.keys)
    if settings.quotas is not None:
        check_redis(settings.quotas)
    _check_registry(registry, _cache(settings, registry))


def _cache(settings: ServerSettings, registry: Registry) -> DiskCache:
    return DiskCache(registry.store.url, settings.cache, settings.trusted)


def _check_registry(registry: Registry, cache: DiskCache) -> None:
    """Fail before the engine starts, which may take a minute."""
    try:
        registry.names()
    except CuecardError:
        if cache.load() is None:
            raise


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
