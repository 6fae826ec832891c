"""Connections on which the head of a request has to arrive in time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cuecard.serving.protocol.errors import APIError


class HeaderTimeoutProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a time for each request's head.

    uvicorn itself has a time for connections between two requests alone: a head that never ends, or
    never begins, would hold its connection for ever.

    Args:
        head_seconds: from the connection, or a further head's first byte, to that head's end.
    """

    def __init__(self, head_seconds: float, **more: Any) -> None:
        super().__init__(**more)
        self._head_seconds = head_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Wait for a further head from its first byte."""
        self._begun = True
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Between requests it is uvicorn that waits, unless the next head has begun.

        The rest of a body that nobody waits for may never come: the connection ends.
        """
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        self._begun = bool(self.conn.trailing_data[0])
        super().on_response_complete()
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        super().connection_lost(exc)

    def _follow(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop()
        elif self._begun and self._head_timer is None:
            self._expect_head()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_seconds, self._too_late)

    def _stop(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        """End the connection; say why where a head has begun."""
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._begun and self.conn.our_state is h11.IDLE:
            refusal = APIError(408, "request_timeout", "The request took too long to arrive.")
            body = json.dumps(refusal.body).encode()
            headers = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "HeaderTimeoutProtocol": "close",
            }
            head = h11.Response(status_code=408, headers=[*headers.items()])
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
