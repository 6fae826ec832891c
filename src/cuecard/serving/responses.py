"""Answers as HTTP has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from cuecard.errors import CuecardError
from cuecard.serving.faults import as_refusal
from cuecard.serving.refusals import Refusal

PING_SECONDS = 15.0
"""Proxies end connections that have been silent for a minute."""
_PING = b": ping\n\n"

Coming = asyncio.Task[bytes | None]
"""An event that is being made; None: there are no more."""


def refusal_response(refusal: Refusal, *, close: bool = False) -> JSONResponse:
    """An error in OpenAI's shape.

    Args:
        close: end the connection after it.
    """
    headers = refusal.headers | ({"Connection": "close"} if close else {})
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
        self._pieces = _with_pings(first, events)
        super().__init__(self._pieces, headers={"Cache-Control": "no-cache"})
        self._first = first
        self._events = events

    @classmethod
    async def begin(cls, events: AsyncGenerator[bytes, None]) -> EventStream:
        """Begin to make events; what fails before the first one, and soon, gets a status.

        Raises:
            Refusal, CuecardError: what stands against the whole answer.
        """
        first = _next(events)
        try:
            done, _ = await asyncio.wait({first}, timeout=PING_SECONDS)
            if done:
                first.result()
        except BaseException:
            await _end(first, events)
            raise
        return cls(first, events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them. The door sees when the client goes."""
        try:
            async with aclosing(self._pieces):
                await self.stream_response(send)
        finally:
            await _end(self._first, self._events)


async def _with_pings(
    coming: Coming, events: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """The events as they come, and comments while none comes; a failure is the last event."""
    silence = 0.0  # what was not there when the answer began has been waited for already
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=silence)
            silence = PING_SECONDS
            if not done:
                yield _PING
                continue
            try:
                event = coming.result()
            except Refusal as refusal:
                yield _failure(refusal)
                return
            except CuecardError as error:
                yield _failure(as_refusal(error))
                return
            if event is None:
                return
            yield event
            coming = _next(events)
    finally:
        await _end(coming, events)


def _next(events: AsyncGenerator[bytes, None]) -> Coming:
    async def following() -> bytes | None:
        return await anext(events, None)

    return asyncio.create_task(following())


async def _end(coming: Coming, events: AsyncGenerator[bytes, None]) -> None:
    """End the work on the next event, then what makes them."""
    coming.cancel()
    await asyncio.wait({coming})
    if not coming.cancelled():
        coming.exception()  # whoever still wanted to know has been told
    await events.aclose()


def _failure(refusal: Refusal) -> bytes:
    return b"data: " + bytes(refusal_response(refusal).body) + b"\n\n"
