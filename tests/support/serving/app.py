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
from cuecard.serving.api.app import Parts, build_app
from cuecard.serving.api.service import Service
from cuecard.serving.http.auth import KeyRing
from cuecard.serving.http.limits import Limits, Meter
from cuecard.serving.http.metrics import Metrics
from cuecard.serving.http.middleware import Gate
from cuecard.serving.logs import JsonLog
from cuecard.serving.models.catalog import Shelf
from cuecard.serving.models.disk_cache import LastKnownGood
from cuecard.serving.models.sync import Follower
from cuecard.serving.settings import SystemMessages
from support.asgi import Client
from support.oracles.serial_engine import SerialEngine

MakePrompt = Callable[..., Path]


@dataclass
class Running:
    """A server, and what it is made of."""

    client: Client
    engine: SerialEngine
    shelf: Shelf
    follower: Follower
    meter: Meter
    gate: Gate
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
    cors: tuple[str, ...] = (),
    system_messages: SystemMessages = "refuse",
) -> AsyncIterator[Running]:
    """Everything of a server but the socket. Clocks stand still until a test moves them."""
    clock, out = [1_000_000.0], io.StringIO()
    engine = engine or SerialEngine(model)
    limits = limits or Limits()
    log = JsonLog(out)
    shelf = Shelf(engine, model.name)
    cached = LastKnownGood(registry.store.url, cache, trusted)
    follower = Follower(registry, shelf, engine, cached, log, lambda: clock[0], trusted)
    await follower.start()
    meter = Meter(
        limits.requests, lambda: clock[0], lambda: clock[0], most_per_key=limits.requests_per_key
    )
    gate = Gate()
    metrics = Metrics(engine, shelf, meter, follower.state, lambda: clock[0])
    ring = None if keys is None else KeyRing(keys)
    service = Service(engine, shelf, limits, system_messages)
    app = build_app(
        Parts(service, follower.state, meter, metrics, ring, gate, log, lambda: clock[0], cors)
    )
    yield Running(Client(app), engine, shelf, follower, meter, gate, out, clock)
    assert meter.open == 0
    assert meter.running == 0
    assert shelf.in_use == 0
    assert engine.generating == 0
