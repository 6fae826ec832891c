"""Error responses, and server-sent events with keep-alive comments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from cuecard.errors import CuecardError
from cuecard.serving.protocol.errors import APIError, to_api_error

PING_SECONDS = 15.0
"""Proxies close connections that are silent for a minute."""
_PING = b": ping\n\n"

Pending = asyncio.Task[bytes | None]
"""The next event; None: there are no more."""


def error_response(error: APIError, *, close: bool = False) -> JSONResponse:
    """An error in OpenAI's format.

    Args:
        close: close the connection after it.
    """
    headers = error.headers | ({"Connection": "close"} if close else {})
    return JSONResponse(error.body, error.status, headers)


class EventStream(StreamingResponse):
    """Server-sent events; the generator is closed however the response ends.

    While there are no events, comments are sent, which clients skip: proxies would close a silent
    connection.

    Args:
        first: the first event, maybe still pending.
        events: the rest.
    """

    media_type = "text/event-stream"

    def __init__(self, first: Pending, events: AsyncGenerator[bytes, None]) -> None:
        self._chunks = _all(first, events)
        super().__init__(self._chunks, headers={"Cache-Control": "no-cache"})
        self._first = first
        self._events = events

    @classmethod
    async def start(cls, events: AsyncGenerator[bytes, None]) -> EventStream:
        """Wait for the first event, but not long: an early failure still gets an HTTP status.

        Raises:
            APIError, CuecardError: the request cannot be answered.
        """
        first = asyncio.create_task(_next(events))
        try:
            done, _ = await asyncio.wait({first}, timeout=PING_SECONDS)
            if done:
                first.result()
        except BaseException:
            await _end(first)
            await events.aclose()
            raise
        return cls(first, events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; the middleware notices a client that disconnects."""
        pings = _KeepAlive(send, immediately=not self._first.done())
        try:
            async with aclosing(self._chunks):
                await self.stream_response(pings.send)
        finally:
            await pings.end()
            await _end(self._first)
            await self._events.aclose()


class _KeepAlive:
    """Forwards ASGI messages, and sends comments while there are none.

    Args:
        immediately: send the first comment without waiting.
    """

    def __init__(self, send: Send, *, immediately: bool) -> None:
        self._send = send
        self._last = -PING_SECONDS if immediately else 0.0
        self._task: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """Forward a message; comments start after the headers and stop before the last one."""
        if message["type"] == "http.response.start":
            await self._send(message)
            self._last += asyncio.get_running_loop().time()
            self._task = asyncio.create_task(self._ping())
            return
        if not message.get("more_body", False):
            await self.end()
        await self._send(message)
        self._last = asyncio.get_running_loop().time()

    async def end(self) -> None:
        """Stop sending comments."""
        if self._task is not None:
            await _end(self._task)

    async def _ping(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            silent = now() - self._last
            if silent < PING_SECONDS:
                await asyncio.sleep(PING_SECONDS - silent)
                continue
            await self._send({"type": "http.response.body", "body": _PING, "more_body": True})
            self._last = now()


async def _all(first: Pending, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The events; a failure becomes the last one."""
    try:
        event = await first
        while event is not None:
            yield event
            event = await _next(events)
    except APIError as error:
        yield _failure(error)
    except CuecardError as error:
        yield _failure(to_api_error(error))


async def _next(events: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(events, None)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end, whatever that is."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not log it


def _failure(error: APIError) -> bytes:
    return b"data: " + bytes(error_response(error).body) + b"\n\n"
