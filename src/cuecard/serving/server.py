"""A server from its start to its end."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from cuecard.errors import ConfigError, CuecardError
from cuecard.registry import Registry
from cuecard.serving.app import Parts, build_app
from cuecard.serving.door import Gate
from cuecard.serving.engine import Engine
from cuecard.serving.follower import Follower
from cuecard.serving.keys import KeyRing
from cuecard.serving.known_good import LastKnownGood
from cuecard.serving.limits import Limits, Meter
from cuecard.serving.logs import JsonLog, LibraryLog
from cuecard.serving.metrics import Metrics
from cuecard.serving.service import Service
from cuecard.serving.shelf import Shelf

_LOOK_SECONDS = 0.02
_CLOSE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is to run.

    Attributes:
        host, port: where it listens; port 0 for a free one.
        keys: the file of API keys; None to ask for none, on this machine alone.
        limits: what it takes.
        poll_seconds: between looks at the registry.
        cache: where the last known good is kept; the user's cache by default.
        trusted: public keys; only versions that one of them has signed are served.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    limits: Limits = field(default_factory=Limits)
    poll_seconds: float = 2.0
    cache: Path | None = None
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, and what it has."""

    url: str
    prompts: int


def check_settings(settings: Settings) -> None:
    """Refuse what is not safe.

    Raises:
        ConfigError: an address that others reach, without keys.
    """
    if settings.keys is None and not _is_loopback(settings.host):
        raise ConfigError(
            "others could use this server, and no keys are asked for",
            where="--host",
            got=settings.host,
            expected="127.0.0.1, or --keys FILE",
            hint="`cuecard keys add NAME --keys FILE` makes a file of keys",
        )


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
    meter, gate = Meter(settings.limits.requests), Gate()
    metrics = Metrics(engine, shelf, meter, follower.state)
    service = Service(engine, shelf, settings.limits)
    app = build_app(Parts(service, follower.state, meter, metrics, ring, gate, log))
    server = _Uvicorn(_config(app, log))
    following = asyncio.create_task(follower.run(settings.poll_seconds))
    ending = asyncio.create_task(_end(server, gate, meter, settings.limits.drain_seconds, log))
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


def _config(app: object, log: JsonLog) -> uvicorn.Config:
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
        http="h11",
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


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
