"""A server from its start to its end."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import uvicorn

from cuecard.engine.protocol import Engine
from cuecard.errors import ConfigError, CuecardError
from cuecard.registry import Registry
from cuecard.serving.api.app import Parts, build_app
from cuecard.serving.api.service import Service
from cuecard.serving.http.auth import KeyRing, read_keys
from cuecard.serving.http.connections import Connection
from cuecard.serving.http.limits import Meter
from cuecard.serving.http.metrics import Metrics
from cuecard.serving.http.middleware import Gate
from cuecard.serving.logs import JsonLog, LibraryLog
from cuecard.serving.models.catalog import Shelf
from cuecard.serving.models.disk_cache import LastKnownGood
from cuecard.serving.models.sync import Follower
from cuecard.serving.settings import Settings, check_settings

_LOOK_SECONDS = 0.02
_CLOSE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, and what it has."""

    url: str
    prompts: int


def check_start(settings: Settings, registry: Registry) -> None:
    """Refuse what a server could not start with, before a model is loaded for it.

    Raises:
        ConfigError: as `check_settings`, an unreadable file of keys, or an address that cannot be
            listened on.
        RegistryError: no registry, and nothing known from before.
    """
    check_settings(settings)
    if settings.keys is not None:
        read_keys(settings.keys)
    _check_known(registry, LastKnownGood(registry.store.url, settings.cache, settings.trusted))
    _listen(settings.host, settings.port).close()


async def serve(
    engine: Engine,
    backbone: str,
    registry: Registry,
    settings: Settings,
    on_listening: Callable[[Listening], None],
    log: JsonLog | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then let nobody in, finish what is at work, and return.

    Args:
        backbone: what the model without a prompt is called.
        on_listening: called when requests may come.

    Raises:
        ConfigError: an address without keys, or one that cannot be had.
        RegistryError: no registry, and nothing known from before.
    """
    check_settings(settings)
    ring = None if settings.keys is None else KeyRing(settings.keys)
    log = log or JsonLog()
    cache = LastKnownGood(registry.store.url, settings.cache, settings.trusted)
    await asyncio.to_thread(_check_known, registry, cache)
    listener = _listen(settings.host, settings.port)
    try:
        await engine.start()
        try:
            shelf = Shelf(engine, backbone)
            follower = Follower(registry, shelf, engine, cache, log, trusted=settings.trusted)
            await _serve(engine, follower, shelf, settings, ring, listener, on_listening, log)
        finally:
            await engine.close()
    finally:
        listener.close()


def _check_known(registry: Registry, cache: LastKnownGood) -> None:
    """Say now what would be said once the engine runs, which for some takes a minute."""
    try:
        registry.names()
    except CuecardError:
        if cache.load() is None:
            raise


async def _serve(
    engine: Engine,
    follower: Follower,
    shelf: Shelf,
    settings: Settings,
    ring: KeyRing | None,
    listener: socket.socket,
    on_listening: Callable[[Listening], None],
    log: JsonLog,
) -> None:
    await follower.start()
    limits = settings.limits
    meter, gate = Meter(limits.requests, most_per_key=limits.requests_per_key), Gate()
    metrics = Metrics(engine, shelf, meter, follower.state)
    service = Service(engine, shelf, limits, settings.system_messages)
    parts = Parts(service, follower.state, meter, metrics, ring, gate, log, cors=settings.cors)
    app = build_app(parts)
    server = _Uvicorn(_config(app, limits.head_seconds, log))
    following = asyncio.create_task(follower.run(settings.poll_seconds))
    ending = asyncio.create_task(_end(server, gate, meter, limits.drain_seconds, log))
    listening = asyncio.create_task(_tell(server, listener, shelf, on_listening, log))
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in (following, ending, listening):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    log.write("ended", open=meter.open)


class _Uvicorn(uvicorn.Server):
    """Leaves signals to us: its own handling closes the door before what is inside is done."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: object, head_seconds: float, log: JsonLog) -> uvicorn.Config:
    handler = LibraryLog(log)
    # asyncio remarks on connections that clients have left.
    for name in ("uvicorn", "uvicorn.error", "asyncio", "cuecard"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
        h11_max_incomplete_event_size=1 << 15,
        http=functools.partial(Connection, head_seconds),  # type: ignore[arg-type]
        ws="none",
    )


async def _tell(
    server: uvicorn.Server,
    listener: socket.socket,
    shelf: Shelf,
    on_listening: Callable[[Listening], None],
    log: JsonLog,
) -> None:
    while not server.started:
        await asyncio.sleep(_LOOK_SECONDS)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    prompts = sum(len(shown.every) for shown in shelf.shown.values())
    log.write("listening", url=url, prompts=prompts)
    on_listening(Listening(url, prompts))


async def _end(
    server: uvicorn.Server, gate: Gate, meter: Meter, drain_seconds: float, log: JsonLog
) -> None:
    """At a signal close the gate and wait for what is at work; a second one ends the waiting."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def hear() -> None:
        if told.is_set():
            server.force_exit = True
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear)
    try:
        await told.wait()
        gate.draining = True
        log.write("draining", open=meter.open)
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                while meter.open and not server.force_exit:
                    await asyncio.sleep(_LOOK_SECONDS)
        server.should_exit = True
        await asyncio.Event().wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            "this address cannot be listened on",
            where="--host, --port",
            got=f"{host}:{port}: {error.strerror or error}",
            expected="an address of this machine and a free port",
        ) from error
    return listener
