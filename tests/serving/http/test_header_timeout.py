"""What goes over a socket, and for how long."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from cuecard.serving.http.header_timeout import HeaderTimeoutProtocol
from support.serving.app import Running

pytestmark = pytest.mark.anyio
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(app: Any, head_seconds: float = 60.0) -> AsyncIterator[int]:
    """The port of an application on a socket."""
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="off",
        ws="none",
        http=functools.partial(HeaderTimeoutProtocol, head_seconds),  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def healthy(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, whatever it is asked."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


async def connected(port: int, *parts: bytes) -> Streams:
    """A connection on which so much was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    return reader, writer


async def rest(streams: Streams) -> bytes:
    """All that comes until the other side ends the connection."""
    reader, writer = streams
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


async def test_heads_that_do_not_end(anyio_backend: str) -> None:
    # A second, since all sixty must have sent their part before the first one times out.
    async with listening(healthy, head_seconds=1.0) as port:
        begun = [await connected(port, HEALTH[:cut]) for cut in (1, 20, len(HEALTH) - 2) * 20]
        for told in await asyncio.gather(*map(rest, begun)):
            head, _, body = told.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408 ") and b"Connection: close" in head
            assert json.loads(body)["error"]["code"] == "request_timeout"
        assert await rest(await connected(port)) == b""


async def test_a_head_that_comes_byte_by_byte(anyio_backend: str) -> None:
    async with listening(healthy, head_seconds=0.2) as port:
        reader, writer = await connected(port)
        answer = asyncio.create_task(reader.read())
        for number in range(200):
            if answer.done():
                break
            writer.write(b"GET / HTTP/1.1\r\nX: " if not number else b"x")
            await asyncio.sleep(0.02)
        assert (await answer).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_later_head_on_the_same_connection(anyio_backend: str) -> None:
    async with listening(healthy, head_seconds=0.2) as port:
        for parts in ((HEALTH, HEALTH[:9]), (HEALTH + HEALTH[:9],)):
            told = await rest(await connected(port, *parts))
            assert told.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 408 " in told


async def test_answers_may_take_longer_than_heads(anyio_backend: str) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.3)
        await healthy(scope, receive, send)

    async with listening(slow, head_seconds=0.1) as port:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        streams = await connected(port, head)
        await asyncio.sleep(0.2)
        streams[1].write(b"{}")
        assert (await rest(streams)).endswith(b"ok")


@pytest.mark.parametrize("ends", [b"Content-Length: 4\r\n", b"content-length: 999\r\n"])
async def test_a_request_within_a_request_is_not_answered(server: Running, ends: bytes) -> None:
    async with listening(server.client.app) as port:
        head = (
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + ends
            + b"Transfer-Encoding: chunked\r\n\r\n"
        )
        told = await rest(await connected(port, head + b"0\r\n\r\n" + HEALTH))
    assert told.startswith(b"HTTP/1.1 400 ") and told.count(b"HTTP/1.1 ") == 1
    assert b"Transfer-Encoding" in told


async def test_a_body_that_nobody_waits_for_ends_the_connection(server: Running) -> None:
    async with listening(server.client.app) as port:
        head = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
        told = await rest(await connected(port, head))
    assert told.startswith(b"HTTP/1.1 405 ")


async def test_head_over_a_socket(server: Running) -> None:
    async with listening(server.client.app) as port:
        head = b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
        close = HEALTH.replace(b"Host", b"Connection: close\r\nHost")
        told = await rest(await connected(port, head, close))
    first, second = told.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert first.endswith(b"\r\n\r\n") and b"content-length" in first.lower()
    assert second.endswith(b'{"status":"ok"}')
