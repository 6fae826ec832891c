"""ASGI middleware: authentication, rate limits, request bodies, timeouts and the access log."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from cuecard.serving.http.auth import APIKey, KeyStore
from cuecard.serving.http.context import SCOPE, RequestContext
from cuecard.serving.http.event_stream import error_response
from cuecard.serving.http.limits import RateLimiter
from cuecard.serving.http.metrics import Metrics
from cuecard.serving.http.request_body import ClientDisconnected, check_framing, read_body
from cuecard.serving.logs import JsonLog
from cuecard.serving.protocol.errors import APIError
from cuecard.serving.settings import Limits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_PUBLIC = ("/healthz", "/readyz", "/openapi.json")
"""Answered without a key; `/readyz` without details then."""
CLIENT_CLOSED_REQUEST = 499
"""The status logged for a request whose client disconnected, as nginx logs it."""
# For what an app does after the last part of its response.
_CLOSING_SECONDS = 5.0


@dataclass(slots=True)
class ShutdownState:
    """Whether the server is shutting down and refuses new requests."""

    draining: bool = False


class RequestMiddleware:
    """ASGI middleware around the routes.

    Args:
        app: the application to call.
        keys: the valid API keys; None: no authentication.
        shutdown: set when the server drains.
        routes: the paths that metrics name; others count as "other".
        forms: those of them whose bodies may be forms with files.
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
        forms: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._limits = limits
        self._limiter = limiter
        self._keys = keys
        self._shutdown = shutdown
        self._metrics = metrics
        self._log = log
        self._routes = routes
        self._forms = forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        context = RequestContext(_request_id(scope))
        response = _ResponseSender(send, context.id, without_body=scope["method"] == "HEAD")
        started = time.perf_counter()
        try:
            await self._admit(scope, receive, response, context)
        except APIError as error:
            await response.send_error(scope, receive, error)
        except ClientDisconnected:
            response.status = CLIENT_CLOSED_REQUEST
        finally:
            self._record(scope, context, response.status, started)

    async def _admit(
        self, scope: Scope, receive: Receive, response: _ResponseSender, context: RequestContext
    ) -> None:
        path = scope["path"]
        check_framing(scope)
        context.key = self._authenticate(scope)
        scope[SCOPE] = context
        if not path.startswith("/v1/"):
            await self._run_app(scope, receive, response, b"")
            return
        if self._shutdown.draining:
            raise APIError(503, "shutting_down", "The server is shutting down.", retry_after=1)
        async with self._limiter.admit(context.key) as admission:
            context.admission = admission
            try:
                forms = path in self._forms
                body = await read_body(scope, receive, self._limits, forms=forms)
                with admission.running():
                    await self._run_app(scope, receive, response, body)
            finally:
                admission.charge(context.tokens)

    def _authenticate(self, scope: Scope) -> APIKey | None:
        if self._keys is None:
            return None
        given = _header(scope, b"authorization")
        scheme, _, secret = (given or "").partition(" ")
        key = self._keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None and scope["path"] not in _PUBLIC:
            what = "Unknown API key." if given else "An API key is required: Authorization: Bearer."
            raise APIError(401, "invalid_api_key", what)
        return key

    async def _run_app(
        self, scope: Scope, receive: Receive, response: _ResponseSender, body: bytes
    ) -> None:
        """Call the app until it finishes, times out, or the client disconnects."""
        # HEAD is answered like GET, without the body.
        known = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        work = asyncio.ensure_future(self._app(known, _replay(body), response.send))
        leaving = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            done, _ = await asyncio.wait(
                {work, leaving},
                timeout=self._limits.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if response.complete and not work.done():
                # Servers also report the end of a complete response as a disconnect.
                done, _ = await asyncio.wait({work}, timeout=_CLOSING_SECONDS)
        finally:
            leaving.cancel()
            if not work.done():
                work.cancel()
            await asyncio.wait({work, leaving})
        if work in done:
            self._raise_failure(work, response)
        elif response.complete:
            return
        elif done:
            raise ClientDisconnected
        else:
            raise APIError(503, "timeout", "The answer took too long.", retry_after=1)

    def _raise_failure(self, work: asyncio.Future[None], response: _ResponseSender) -> None:
        error = work.exception()
        if error is None:
            return
        if isinstance(error, OSError) and response.status:
            raise ClientDisconnected from error
        self._log.failure("failure", error, request=response.id)
        raise APIError(500, "internal_error", "Internal server error.")

    def _record(self, scope: Scope, context: RequestContext, status: int, started: float) -> None:
        path, seconds = scope["path"], time.perf_counter() - started
        route = path if path in self._routes else "other"
        self._measure(route, context, status, started, seconds)
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

    def _measure(
        self, route: str, context: RequestContext, status: int, started: float, seconds: float
    ) -> None:
        metrics = self._metrics
        metrics.requests.labels(route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if context.first_token is not None:
            metrics.first_token.labels(route).observe(context.first_token - started)
        if context.key is not None:
            metrics.key_requests.labels(context.key.id, str(status)).inc()
        if not context.tokens:
            return
        used = {"prompt": context.prompt_tokens, "completion": context.completion_tokens}
        for kind, tokens in used.items():
            metrics.tokens.labels(context.model_label, kind).inc(tokens)
            if context.key is not None:
                metrics.key_tokens.labels(context.key.id, kind).inc(tokens)


class _ResponseSender:
    """Sends a response, with the request's id in its headers.

    Attributes:
        status: 0 until the response has started.
        complete: the last part of the body was sent.
    """

    def __init__(self, send: Send, request_id: str, *, without_body: bool) -> None:
        self.id = request_id
        self.status = 0
        self.complete = False
        self._without_body = without_body
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            named = (b"x-request-id", self.id.encode("ascii"))
            message = {**message, "headers": [*message.get("headers", ()), named]}
        elif self._without_body:
            message = {**message, "body": b""}
        # Before it is sent: the server may report the disconnect while it sends.
        last = message["type"] == "http.response.body" and not message.get("more_body")
        self.complete = self.complete or last
        await self._send(message)

    async def send_error(self, scope: Scope, receive: Receive, error: APIError) -> None:
        """Send an error, unless a response has started.

        In that case the server closes the connection without ending the body, so that no client
        takes a part for the whole.
        """
        if not self.status:
            # The unread rest of a body would be taken for the next request.
            await error_response(error, close=True)(scope, receive, self.send)


def _replay(body: bytes) -> Receive:
    """A `receive` that returns a body already read, then blocks."""
    left = [body]

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(), "more_body": False}

    return receive


async def _wait_for_disconnect(receive: Receive) -> None:
    """Return when the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        continue


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id") or ""
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def _header(scope: Scope, name: bytes) -> str | None:
    found = next((value for key, value in scope["headers"] if key == name), None)
    return None if found is None else found.decode("latin-1")
