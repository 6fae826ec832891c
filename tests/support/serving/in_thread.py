"""An ASGI application on a socket of its own, in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import uvicorn


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve an application; its URL."""

    @asynccontextmanager
    async def made() -> AsyncIterator[Any]:
        yield app

    with listening_to(made) as url:
        yield url


@contextmanager
def listening_to(make: Callable[[], AbstractAsyncContextManager[Any]]) -> Iterator[str]:
    """Serve the application of a context, which is entered where it is served; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = "http://{}:{}".format(*listener.getsockname()[:2])
    ready, servers = threading.Event(), []

    async def serve() -> None:
        async with make() as app:
            config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
            servers.append(uvicorn.Server(config))
            serving = asyncio.create_task(servers[0].serve(sockets=[listener]))
            while not servers[0].started and not serving.done():
                await asyncio.sleep(0.01)
            ready.set()
            await serving

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(60)
        yield url
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(60)
        listener.close()
        assert not thread.is_alive()
