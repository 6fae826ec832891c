"""Every request comes in here, and goes out.

Who asks, how much, whether it may; the body within its bounds; the end of the work when the client
has gone or the time is up; a line in the log. What comes behind sees whole requests alone.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from cuecard.serving.http.auth import Key, KeyRing
from cuecard.serving.http.bodies import Gone, check_framing, read_body
from cuecard.serving.http.context import SCOPE, Visit
from cuecard.serving.http.limits import Limits, Meter
from cuecard.serving.http.metrics import Metrics
from cuecard.serving.http.responses import refusal_response
from cuecard.serving.logs import JsonLog
from cuecard.serving.protocol.errors import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_OPEN = ("/healthz", "/readyz", "/openapi.json")
"""Answered without a key; `/readyz` then without details."""
GONE = 499
"""How a request is logged whose client went away; nginx has made it usual."""


@dataclass(slots=True)
class Gate:
    """Whether new requests are let in."""

    draining: bool = False


class Door:
    """ASGI around an app.

    Args:
        app: what answers.
        limits, meter: how much is let in.
        ring: whose keys; None to ask for none.
        gate: closed when the server ends.
        routes: paths that have a name of their own in the metrics.
    """

    def __init__(
        self,
        app: App,
        *,
        limits: Limits,
        meter: Meter,
        ring: KeyRing | None,
        gate: Gate,
        metrics: Metrics,
        log: JsonLog,
        routes: frozenset[str],
    ) -> None:
        self._app = app
        self._limits = limits
        self._meter = meter
        self._ring = ring
        self._gate = gate
        self._metrics = metrics
        self._log = log
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        visit = Visit(_request_id(scope))
        answer = _Answer(send, visit.id, without_body=scope["method"] == "HEAD")
        began = time.perf_counter()
        try:
            await self._let_in(scope, receive, answer, visit)
        except Refusal as refusal:
            await answer.refuse(scope, receive, refusal)
        except Gone:
            answer.status = GONE
        finally:
            self._tell(scope, visit, answer.status, time.perf_counter() - began)

    async def _let_in(self, scope: Scope, receive: Receive, answer: _Answer, visit: Visit) -> None:
        path = scope["path"]
        check_framing(scope)
        visit.key = self._caller(scope)
        scope[SCOPE] = visit
        if not path.startswith("/v1/"):
            await self._work(scope, receive, answer, b"")
            return
        if self._gate.draining:
            raise Refusal(503, "shutting_down", "The server is shutting down.", retry_after=1)
        with self._meter.admit(visit.key) as admission:
            visit.admission = admission
            try:
                body = await read_body(scope, receive, self._limits)
                with admission.running():
                    await self._work(scope, receive, answer, body)
            finally:
                admission.charge(visit.tokens)

    def _caller(self, scope: Scope) -> Key | None:
        if self._ring is None:
            return None
        shown = _header(scope, b"authorization")
        scheme, _, secret = (shown or "").partition(" ")
        key = self._ring.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None and scope["path"] not in _OPEN:
            what = "This key is not known." if shown else "A key is needed: Authorization: Bearer."
            raise Refusal(401, "invalid_api_key", what)
        return key

    async def _work(self, scope: Scope, receive: Receive, answer: _Answer, body: bytes) -> None:
        """Run the app until it is done, its time is up, or its client has gone."""
        # HEAD is answered as GET is, without the body.
        known = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        work = asyncio.ensure_future(self._app(known, _whole(body), answer.send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            done, _ = await asyncio.wait(
                {work, leaving},
                timeout=self._limits.seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            leaving.cancel()
            if not work.done():
                work.cancel()
            await asyncio.wait({work, leaving})
        if work in done:
            await self._settle(work, answer)
        elif done:
            raise Gone
        else:
            raise Refusal(503, "timeout", "The answer took too long.", retry_after=1)

    async def _settle(self, work: asyncio.Future[None], answer: _Answer) -> None:
        error = work.exception()
        if error is None:
            return
        if isinstance(error, OSError) and answer.status:
            raise Gone from error
        self._log.failure("failure", error, request=answer.id)
        raise Refusal(500, "internal_error", "The server failed.")

    def _tell(self, scope: Scope, visit: Visit, status: int, seconds: float) -> None:
        path = scope["path"]
        route = path if path in self._routes else "other"
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if visit.tokens:
            tokens = self._metrics.tokens
            tokens.labels(visit.counted_as, "prompt").inc(visit.prompt_tokens)
            tokens.labels(visit.counted_as, "completion").inc(visit.completion_tokens)
        self._log.write(
            "request",
            request=visit.id,
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            key=None if visit.key is None else visit.key.id,
            model=visit.served or None,
            prompt_tokens=visit.prompt_tokens or None,
            completion_tokens=visit.completion_tokens or None,
        )


class _Answer:
    """What is sent, with the request's id in its head.

    Attributes:
        status: 0 until it begins.
    """

    def __init__(self, send: Send, request_id: str, *, without_body: bool) -> None:
        self.id = request_id
        self.status = 0
        self._without_body = without_body
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            named = (b"x-request-id", self.id.encode("ascii"))
            message = {**message, "headers": [*message.get("headers", ()), named]}
        elif self._without_body:
            message = {**message, "body": b""}
        await self._send(message)

    async def refuse(self, scope: Scope, receive: Receive, refusal: Refusal) -> None:
        """Answer with an error; nothing more is sent where an answer has begun.

        The server then ends the connection without the body's end, so that no client takes what it
        has for the whole.
        """
        if not self.status:
            # What was not read of a body would be taken for the next request.
            await refusal_response(refusal, close=True)(scope, receive, self.send)


def _whole(body: bytes) -> Receive:
    """Gives a body at once, and then nothing more."""
    left = [body]

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(), "more_body": False}

    return receive


async def _left(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        continue


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id") or ""
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def _header(scope: Scope, name: bytes) -> str | None:
    found = next((value for key, value in scope["headers"] if key == name), None)
    return None if found is None else found.decode("latin-1")
