"""A server in this process: everything but the socket."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuecard.registry import Registry
from cuecard.serving.api.app import ServerComponents, build_app
from cuecard.serving.api.service import Service
from cuecard.serving.http.auth import KeyStore
from cuecard.serving.http.limits import RateLimiter
from cuecard.serving.http.metrics import Metrics
from cuecard.serving.http.middleware import ShutdownState
from cuecard.serving.http.quotas import KeyQuotas
from cuecard.serving.logs import JsonLog
from cuecard.serving.models.catalog import PromptCatalog
from cuecard.serving.models.disk_cache import DiskCache
from cuecard.serving.models.sync import RegistrySync
from cuecard.serving.settings import Limits, ServedVersions, SystemMessages
from support.asgi import Client
from support.oracles.serial_engine import SerialEngine

MakePrompt = Callable[..., Path]


@dataclass
class Running:
    """A server, and what it is made of."""

    client: Client
    engine: SerialEngine
    catalog: PromptCatalog
    sync: RegistrySync
    limiter: RateLimiter
    shutdown: ShutdownState
    log: io.StringIO
    clock: list[float] = field(default_factory=list)

    def lines(self, event: str) -> list[Any]:
        """What was logged."""
        found = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [each for each in found if each["event"] == event]


@asynccontextmanager
async def running(
    model: Any,
    registry: Registry,
    cache: Path,
    *,
    limits: Limits | None = None,
    keys: Path | None = None,
    engine: SerialEngine | None = None,
    trusted: Sequence[str] = (),
    versions: ServedVersions = "all",
    cors: tuple[str, ...] = (),
    system_messages: SystemMessages = "refuse",
) -> AsyncIterator[Running]:
    """Everything of a server but the socket. Clocks stand still until a test moves them."""
    clock, out = [1_000_000.0], io.StringIO()
    engine = engine or SerialEngine(model)
    limits = (limits or Limits()).on(images=engine.images is not None)
    log = JsonLog(out)
    catalog = PromptCatalog(engine, model.name)
    cached = DiskCache(registry.store.url, cache, trusted)
    sync = RegistrySync(registry, catalog, cached, log, lambda: clock[0], trusted, versions)
    await sync.start()
    limiter = RateLimiter(
        limits.max_requests,
        limits.max_requests_per_key,
        KeyQuotas(lambda: clock[0], lambda: clock[0]),
    )
    shutdown = ShutdownState()
    metrics = Metrics(engine, catalog, limiter, sync.state, lambda: clock[0])
    keys = None if keys is None else KeyStore(keys)
    service = Service(engine, catalog, limits, system_messages)
    app = build_app(
        ServerComponents(
            service, sync.state, limiter, metrics, keys, shutdown, log, lambda: clock[0], cors
        )
    )
    yield Running(Client(app), engine, catalog, sync, limiter, shutdown, out, clock)
    assert limiter.open == 0
    assert limiter.running == 0
    assert catalog.in_use == 0
    assert engine.generating == 0
