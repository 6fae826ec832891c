"""Who may see the board, and what a browser may do with its pages.

Without keys the board is this machine's user's: requests must name a loopback host, so that no
page from elsewhere can have a browser read it under another name (DNS rebinding). With keys, those
that may use every model may see it. Whatever changes something carries a token that only the
board's own pages know.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response
from starlette.datastructures import FormData, Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cuecard.serving.http.auth import KeyStore

COOKIE = "cuecard_board"
LOGIN = "/login"
_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OPEN = (LOGIN, "/static/")
_ASKING = ("/play/",)  # what has a server work
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MOST_SESSIONS = 1_000
_LONGEST = 1 << 20  # bytes of a form
_MOST_FIELDS = 200


async def _form_of(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=_MOST_FIELDS)


Posted = Annotated[FormData, Depends(_form_of)]
"""The form that a route was sent; read before, so that the route itself may wait for files."""


class Sessions:
    """Browsers that have shown a key, and the token that each one's forms carry.

    Args:
        keys: the valid keys; None: everybody is let in.
    """

    def __init__(self, keys: KeyStore | None) -> None:
        self._keys = keys
        self._secret = secrets.token_bytes(32)
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def needs_key(self) -> bool:
        """Whether a key must be shown."""
        return self._keys is not None

    def accepts(self, secret: str) -> bool:
        """Whether a key may see the board: one that may use every model."""
        found = None if self._keys is None else self._keys.find(secret)
        return self._keys is None or (found is not None and found.unrestricted)

    def open(self, secret: str) -> str:
        """A new session of a key; its name goes into a cookie."""
        name = secrets.token_urlsafe(32)
        with self._lock:
            while len(self._known) >= _MOST_SESSIONS:
                self._known.pop(next(iter(self._known)))
            self._known[name] = secret
        return name

    def close(self, name: str) -> None:
        """End a session."""
        with self._lock:
            self._known.pop(name, None)

    def lets_in(self, request: Request) -> bool:
        """Whether a request shows a key that is still valid, or needs none."""
        if self._keys is None:
            return True
        secret = self.secret_of(request)
        return secret is not None and self.accepts(secret)

    def who(self, request: Request) -> str | None:
        """The name of the key that a request shows; None without keys."""
        if self._keys is None:
            return None
        found = self._keys.find(self.secret_of(request) or "")
        return None if found is None else f"{found.id} on the board"

    def must_be_ours(self, request: Request, form: FormData) -> None:
        """Refuse a form that does not carry the token of this browser's pages.

        Raises:
            HTTPException: 403.
        """
        token = form.get("token")
        if not isinstance(token, str) or not hmac.compare_digest(
            self.token(request).encode(), token.encode("utf-8", "replace")
        ):
            raise HTTPException(403, "the form is not of this page: open it again")

    def secret_of(self, request: Request) -> str | None:
        """The key that a request shows, by its header or its session."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return given.strip()
        with self._lock:
            return self._known.get(request.cookies.get(COOKIE, ""))

    def token(self, request: Request) -> str:
        """What the forms of a browser's pages carry."""
        name = request.cookies.get(COOKIE, "") if self.needs_key else ""
        return hmac.digest(self._secret, name.encode(), "sha256").hex()


@dataclass(frozen=True)
class Guard:
    """ASGI middleware: the host's name, the key, and headers that bind the browser."""

    app: ASGIApp
    sessions: Sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_bound(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "private, no-cache")
            await send(message)

        refused = self._refused(Request(scope))
        await (refused or self.app)(scope, receive, send_bound)

    def _refused(self, request: Request) -> Response | None:
        if not self.sessions.needs_key and _host(request.headers) not in _LOOPBACK:
            return PlainTextResponse("This board answers to localhost only.\n", 421)
        path = request.url.path
        if request.method not in ("GET", "HEAD") or path.startswith(_ASKING):
            if not _same_origin(request.headers):
                return PlainTextResponse("The request comes from another site.\n", 403)
            if request.method == "POST" and not _is_small(request.headers):
                return PlainTextResponse("The request is too large.\n", 413)
        if path.startswith(_OPEN) or self.sessions.lets_in(request):
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"{LOGIN}?next={quote(path)}", 303)
        return PlainTextResponse("A key is required: Authorization: Bearer.\n", 401)


def _host(headers: Headers) -> str:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: Headers) -> bool:
    """Whether a browser sends it from one of our pages; other programs name no origin."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host", "")


def _is_small(headers: Headers) -> bool:
    """Whether a request says how long it is, and is not longer than a form may be."""
    length = headers.get("content-length", "")
    return length.isascii() and length.isdigit() and int(length) <= _LONGEST
