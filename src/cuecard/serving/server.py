"""Run a server: start, listen, drain on SIGTERM, close."""

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
from cuecard.registry import Registry
from cuecard.serving.app_lifetime import OpenApp, check_app, end_task, open_app
from cuecard.serving.http.header_timeout import HeaderTimeoutProtocol
from cuecard.serving.http.limits import RateLimiter
from cuecard.serving.http.listening import bind, url_of
from cuecard.serving.http.middleware import ShutdownState
from cuecard.serving.logs import JsonLog, LibraryLog
from cuecard.serving.models.catalog import PromptCatalog
from cuecard.serving.settings import ServerSettings, check_settings

_POLL_SECONDS = 0.02
_CLOSE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that accepts requests: its URL and how many prompts it serves."""

    url: str
    prompts: int


def check_start(settings: ServerSettings, registry: Registry) -> None:
    """Find what would keep a server from starting, before a model is loaded for it.

    Raises:
        ConfigError: as `check_app`, or an address that cannot be bound.
        RegistryError: as `check_app`.
    """
    check_app(settings, registry)
    bind(settings.host, settings.port).close()


async def serve(
    engine: Engine,
    backbone: str,
    registry: Registry,
    settings: ServerSettings,
    on_listening: Callable[[Listening], None],
    log: JsonLog | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish the open requests and return.

    Args:
        backbone: the name of the model without a prompt.
        on_listening: called once the server accepts requests.

    Raises:
        ConfigError: a public address without keys, or one that cannot be bound.
        RegistryError: no registry, and nothing cached from an earlier run.
    """
    check_settings(settings)
    log = log or JsonLog()
    listener = bind(settings.host, settings.port)
    try:
        async with open_app(engine, backbone, registry, settings, log) as opened:
            await _listen(opened, settings, listener, on_listening, log)
    finally:
        listener.close()
    log.write("ended", open=opened.limiter.open)


async def _listen(
    opened: OpenApp,
    settings: ServerSettings,
    listener: socket.socket,
    on_listening: Callable[[Listening], None],
    log: JsonLog,
) -> None:
    server = _Uvicorn(_config(opened.app, settings.limits.header_timeout, log))
    draining = asyncio.create_task(
        _drain_on_signal(server, opened.shutdown, opened.limiter, settings.limits.drain, log)
    )
    listening = asyncio.create_task(_announce(server, listener, opened.catalog, on_listening, log))
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in (draining, listening):
            await end_task(task)


class _Uvicorn(uvicorn.Server):
    """Leaves signals to us: uvicorn's own handler would end open requests."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: object, head_seconds: float, log: JsonLog) -> uvicorn.Config:
    handler = LibraryLog(log)
    # asyncio logs connections that clients have closed.
    for name in ("uvicorn", "uvicorn.error", "asyncio", "cuecard"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
    # Its warnings quote the body.
    forms = logging.getLogger("python_multipart")
    forms.handlers, forms.propagate = [logging.NullHandler()], False
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
        h11_max_incomplete_event_size=1 << 15,
        http=functools.partial(HeaderTimeoutProtocol, head_seconds),  # type: ignore[arg-type]
        ws="none",
    )


async def _announce(
    server: uvicorn.Server,
    listener: socket.socket,
    catalog: PromptCatalog,
    on_listening: Callable[[Listening], None],
    log: JsonLog,
) -> None:
    while not server.started:
        await asyncio.sleep(_POLL_SECONDS)
    url = url_of(listener)
    prompts = sum(len(entry.prompts) for entry in catalog.entries.values())
    log.write("listening", url=url, prompts=prompts)
    on_listening(Listening(url, prompts))


async def _drain_on_signal(
    server: uvicorn.Server,
    shutdown: ShutdownState,
    limiter: RateLimiter,
    drain_seconds: float,
    log: JsonLog,
) -> None:
    """At the first signal wait for the open requests; a second one ends the waiting."""
    loop, signalled = asyncio.get_running_loop(), asyncio.Event()

    def on_signal() -> None:
        if signalled.is_set():
            server.force_exit = True
        signalled.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await signalled.wait()
        shutdown.draining = True
        log.write("draining", open=limiter.open)
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                while limiter.open and not server.force_exit:
                    await asyncio.sleep(_POLL_SECONDS)
        server.should_exit = True
        await asyncio.Event().wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
