"""Answers as HTTP has them."""

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
"""Proxies end connections that have been silent for a minute."""
_PING = b": ping\n\n"

Coming = asyncio.Task[bytes | None]
"""An event that is being made; None: there are no more."""


def error_response(refusal: APIError, *, close: bool = False) -> JSONResponse:
    """An error in OpenAI's shape.

    Args:
        close: end the connection after it.
    """
    headers = refusal.headers | ({"HeaderTimeoutProtocol": "close"} if close else {})
    return JSONResponse(refusal.body, refusal.status, headers)


class EventStream(StreamingResponse):
    """Server-sent events; what makes them is closed at the end, whatever that is.

    A stream without events for a while carries comments, which clients skip: proxies take a silent
    connection for a dead one.

    Args:
        first: the first event, as it is made.
        events: the others.
    """

    media_type = "text/event-stream"

    def __init__(self, first: Coming, events: AsyncGenerator[bytes, None]) -> None:
        self._pieces = _all(first, events)
        super().__init__(self._pieces, headers={"Cache-Control": "no-cache"})
        self._first = first
        self._events = events

    @classmethod
    async def begin(cls, events: AsyncGenerator[bytes, None]) -> EventStream:
        """Begin to make events; what fails before the first one, and soon, gets a status.

        Raises:
            APIError, CuecardError: what stands against the whole answer.
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
        """Send them. The door sees when the client goes."""
        pings = _Pings(send, at_once=not self._first.done())
        try:
            async with aclosing(self._pieces):
                await self.stream_response(pings.send)
        finally:
            await pings.end()
            await _end(self._first)
            await self._events.aclose()


class _Pings:
    """Sends what an answer consists of, and comments while there is none of it.

    Args:
        at_once: the first comment need not wait, for there has been nothing for long enough.
    """

    def __init__(self, send: Send, *, at_once: bool) -> None:
        self._send = send
        self._last = -PING_SECONDS if at_once else 0.0
        self._task: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """Send a part of the answer; comments begin after its head and end before its end."""
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
        """Send no more comments."""
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


async def _all(first: Coming, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The events; a failure is the last of them."""
    try:
        event = await first
        while event is not None:
            yield event
            event = await _next(events)
    except APIError as refusal:
        yield _failure(refusal)
    except CuecardError as error:
        yield _failure(to_api_error(error))


async def _next(events: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(events, None)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait until it is over, however it ends."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # whoever still wanted to know has been told


def _failure(refusal: APIError) -> bytes:
    return b"data: " + bytes(error_response(refusal).body) + b"\n\n"
