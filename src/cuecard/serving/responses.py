"""Answers as HTTP has them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from cuecard.serving.refusals import Refusal


def refusal_response(refusal: Refusal, *, close: bool = False) -> JSONResponse:
    """An error in OpenAI's shape.

    Args:
        close: end the connection after it.
    """
    headers = refusal.headers | ({"Connection": "close"} if close else {})
    return JSONResponse(refusal.body, refusal.status, headers)


class EventStream(StreamingResponse):
    """Server-sent events; what makes them is closed at the end, whatever that is.

    Args:
        first: the first event, made before, so that what fails until then gets a status.
        events: the others.
    """

    media_type = "text/event-stream"

    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(_all(first, events), headers={"Cache-Control": "no-cache"})
        self._events = events

    @classmethod
    async def begin(cls, events: AsyncGenerator[bytes, None]) -> EventStream:
        """Make the first event.

        Raises:
            Refusal, CuecardError: what stands against the whole answer.
        """
        try:
            first = await anext(events)
        except BaseException:
            await events.aclose()
            raise
        return cls(first, events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them. The door sees when the client goes."""
        async with aclosing(self._events):
            await self.stream_response(send)


async def _all(first: bytes, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for event in events:
        yield event
