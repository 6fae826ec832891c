"""Streams of events: comments while there are none, failures, clients that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cuecard.serving.http import event_stream
from cuecard.serving.http.event_stream import EventStream
from cuecard.serving.protocol.errors import APIError, bad_request

pytestmark = pytest.mark.anyio


class Reading:
    """A client of a stream.

    Attributes:
        body: what has come.
        pinged: set by a comment.
    """

    def __init__(self) -> None:
        self.body = b""
        self.pinged = asyncio.Event()

    async def send(self, message: Any) -> None:
        piece = message.get("body", b"")
        self.body += piece
        if piece == b": ping\n\n":
            self.pinged.set()

    async def all_of(self, events: Any) -> bytes:
        """The body of an answer of these events."""
        stream = await EventStream.start(events)
        await stream({"type": "http"}, asyncio.Event().wait, self.send)  # type: ignore[arg-type]
        return self.body

    async def silence(self) -> None:
        """Until there has been a comment."""
        self.pinged.clear()
        await self.pinged.wait()


async def test_silent_streams_carry_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "PING_SECONDS", 0.01)
    client, closed = Reading(), []

    async def events() -> AsyncIterator[bytes]:
        try:
            await client.silence()
            yield b"data: 1\n\n"
            await client.silence()
            yield b"data: [DONE]\n\n"
        finally:
            closed.append(True)

    parts = (await client.all_of(events())).split(b"\n\n")
    told = [part for part in parts if part != b": ping"]
    assert told == [b"data: 1", b"data: [DONE]", b""]
    assert parts[0] == b": ping" and parts[-3] == b": ping"
    assert closed == [True]


async def test_busy_streams_carry_none() -> None:
    async def events() -> AsyncIterator[bytes]:
        for number in range(9):
            yield b"data: %d\n\n" % number

    parts = (await Reading().all_of(events())).split(b"\n\n")
    assert parts == [b"data: %d" % number for number in range(9)] + [b""]


async def test_what_fails_after_a_comment_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "PING_SECONDS", 0.01)
    client = Reading()

    async def late() -> AsyncIterator[bytes]:
        await client.silence()
        raise bad_request("It is too late.")
        yield b""

    body = await client.all_of(late())
    assert json.loads(body.split(b"data: ")[1])["error"]["message"] == "It is too late."

    async def at_once() -> AsyncIterator[bytes]:
        raise bad_request("No.")
        yield b""

    with pytest.raises(APIError, match="No"):
        await client.all_of(at_once())


async def test_a_client_that_leaves_a_silent_stream_ends_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[bool] = []

    async def events() -> AsyncIterator[bytes]:
        try:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def never() -> AsyncIterator[bytes]:
        try:
            await asyncio.Event().wait()
            yield b""
        finally:
            closed.append(True)

    async def fails(message: Any) -> None:
        raise OSError("the client has gone")

    monkeypatch.setattr(event_stream, "PING_SECONDS", 0.01)
    stream = await EventStream.start(never())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="gone"):
        await stream({"type": "http"}, asyncio.Event().wait, fails)  # type: ignore[arg-type]
    assert closed.pop()

    client = Reading()
    reading = asyncio.create_task(client.all_of(events()))
    while not client.body:
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert closed == [True]
