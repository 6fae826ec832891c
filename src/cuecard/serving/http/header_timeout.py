"""A timeout for request headers, which uvicorn does not have."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cuecard.serving.protocol.errors import APIError


class HeaderTimeoutProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with a timeout for each request's headers.

    uvicorn only has a timeout between two requests: headers that never end, or never begin, would
    keep a connection open forever.

    Args:
        head_seconds: from the connection, or a later request's first byte, to the end of its
            headers.
    """

    def __init__(self, head_seconds: float, **more: Any) -> None:
        super().__init__(**more)
        self._head_seconds = head_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._started = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Start the timer at a later request's first byte."""
        self._started = True
        super().data_received(data)
        self._update_timer()

    def on_response_complete(self) -> None:
        """Leave idle connections to uvicorn, unless the next request has begun.

        The rest of an unread body may never come, so the connection is closed.
        """
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        self._started = bool(self.conn.trailing_data[0])
        super().on_response_complete()
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _update_timer(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_timer()
        elif self._started and self._timer is None:
            self._start_timer()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._head_seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        """Close the connection, with a 408 if a request has begun."""
        self._timer = None
        if self.transport.is_closing():
            return
        if self._started and self.conn.our_state is h11.IDLE:
            error = APIError(408, "request_timeout", "The request took too long to arrive.")
            body = json.dumps(error.body).encode()
            headers = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Connection": "close",
            }
            head = h11.Response(status_code=408, headers=[*headers.items()])
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
