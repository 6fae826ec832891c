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

from cuecard.serving.http.auth import APIKey, KeyStore
from cuecard.serving.http.bodies import ClientDisconnected, check_framing, read_body
from cuecard.serving.http.context import SCOPE, RequestContext
from cuecard.serving.http.limits import Limits, RateLimiter
from cuecard.serving.http.metrics import Metrics
from cuecard.serving.http.responses import error_response
from cuecard.serving.logs import JsonLog
from cuecard.serving.protocol.errors import APIError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_OPEN = ("/healthz", "/readyz", "/openapi.json")
"""Answered without a key; `/readyz` then without details."""
CLIENT_CLOSED_REQUEST = 499
"""How a request is logged whose client went away; nginx has made it usual."""


@dataclass(slots=True)
class ShutdownState:
    """Whether new requests are let in."""

    draining: bool = False


class RequestMiddleware:
    """ASGI around an app.

    Args:
        app: what answers.
        limits, limiter: how much is let in.
        keys: whose keys; None to ask for none.
        shutdown: closed when the server ends.
        routes: paths that have a name of their own in the metrics.
    """

    def __init__(
        self,
        app: App,
        *,
        limits: Limits,
        limiter: RateLimiter,
        keys: KeyStore | None,
        shutdown: ShutdownState,
        metrics: Metrics,
        log: JsonLog,
        routes: frozenset[str],
    ) -> None:
        self._app = app
        self._limits = limits
        self._limiter = limiter
        self._keys = keys
        self._shutdown = shutdown
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
        context = RequestContext(_request_id(scope))
        answer = _ResponseSender(send, context.id, without_body=scope["method"] == "HEAD")
        began = time.perf_counter()
        try:
            await self._admit(scope, receive, answer, context)
        except APIError as refusal:
            await answer.refuse(scope, receive, refusal)
        except ClientDisconnected:
            answer.status = CLIENT_CLOSED_REQUEST
        finally:
            self._tell(scope, context, answer.status, time.perf_counter() - began)

    async def _admit(
        self, scope: Scope, receive: Receive, answer: _ResponseSender, context: RequestContext
    ) -> None:
        path = scope["path"]
        check_framing(scope)
        context.key = self._authenticate(scope)
        scope[SCOPE] = context
        if not path.startswith("/v1/"):
            await self._work(scope, receive, answer, b"")
            return
        if self._shutdown.draining:
            raise APIError(503, "shutting_down", "The server is shutting down.", retry_after=1)
        with self._limiter.admit(context.key) as admission:
            context.admission = admission
            try:
                body = await read_body(scope, receive, self._limits)
                with admission.running():
                    await self._work(scope, receive, answer, body)
            finally:
                admission.charge(context.tokens)

    def _authenticate(self, scope: Scope) -> APIKey | None:
        if self._keys is None:
            return None
        given = _header(scope, b"authorization")
        scheme, _, secret = (given or "").partition(" ")
        key = self._keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None and scope["path"] not in _OPEN:
            what = "This key is not known." if given else "A key is needed: Authorization: Bearer."
            raise APIError(401, "invalid_api_key", what)
        return key

    async def _work(
        self, scope: Scope, receive: Receive, answer: _ResponseSender, body: bytes
    ) -> None:
        """Run the app until it is done, its time is up, or its client has gone."""
        # HEAD is answered as GET is, without the body.
        known = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        work = asyncio.ensure_future(self._app(known, _whole(body), answer.send))
        leaving = asyncio.ensure_future(_wait_for_disconnect(receive))
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
            raise ClientDisconnected
        else:
            raise APIError(503, "timeout", "The answer took too long.", retry_after=1)

    async def _settle(self, work: asyncio.Future[None], answer: _ResponseSender) -> None:
        error = work.exception()
        if error is None:
            return
        if isinstance(error, OSError) and answer.status:
            raise ClientDisconnected from error
        self._log.failure("failure", error, request=answer.id)
        raise APIError(500, "internal_error", "The server failed.")

    def _tell(self, scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
        path = scope["path"]
        route = path if path in self._routes else "other"
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if context.tokens:
            tokens = self._metrics.tokens
            tokens.labels(context.counted_as, "prompt").inc(context.prompt_tokens)
            tokens.labels(context.counted_as, "completion").inc(context.completion_tokens)
        self._log.write(
            "request",
            request=context.id,
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            key=None if context.key is None else context.key.id,
            model=context.served or None,
            prompt_tokens=context.prompt_tokens or None,
            completion_tokens=context.completion_tokens or None,
        )


class _ResponseSender:
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

    async def refuse(self, scope: Scope, receive: Receive, refusal: APIError) -> None:
        """Answer with an error; nothing more is sent where an answer has begun.

        The server then ends the connection without the body's end, so that no client takes what it
        has for the whole.
        """
        if not self.status:
            # What was not read of a body would be taken for the next request.
            await error_response(refusal, close=True)(scope, receive, self.send)


def _whole(body: bytes) -> Receive:
    """Gives a body at once, and then nothing more."""
    left = [body]

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(), "more_body": False}

    return receive


async def _wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        continue


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id") or ""
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def _header(scope: Scope, name: bytes) -> str | None:
    found = next((value for key, value in scope["headers"] if key == name), None)
    return None if found is None else found.decode("latin-1")
