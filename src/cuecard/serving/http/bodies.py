"""Reading a request's body: within its size and time, decompressed."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import zlib

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from cuecard.serving.http.limits import Limits
from cuecard.serving.protocol.errors import APIError, bad_request

_JSON = re.compile(r"^application/json\s*(;|$)", re.IGNORECASE)


class ClientDisconnected(Exception):  # noqa: N818 - nobody's fault
    """The client went away."""


def check_framing(scope: Scope) -> None:
    """Refuse a body whose end is said in two ways: others may take its rest for a request.

    RFC 9112, section 6.3. The connection has to be closed after it.

    Raises:
        APIError: both Content-Length and Transfer-Encoding.
    """
    headers = Headers(scope=scope)
    if "content-length" in headers and "transfer-encoding" in headers:
        raise bad_request(
            "A request must not have both Content-Length and Transfer-Encoding.",
            None,
            "invalid_request",
        )


async def read_body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    """The whole body of a request.

    Raises:
        APIError: it is too large, as it comes or decompressed; comes too slowly; is not JSON by its
            own account; or has an encoding that is not supported.
        ClientDisconnected: the client went away.
    """
    headers = Headers(scope=scope)
    if scope["method"] == "POST" and not _JSON.match(headers.get("content-type", "")):
        raise _unsupported("The body must be JSON: Content-Type: application/json.")
    encoding = ", ".join(headers.getlist("content-encoding")).strip().lower() or "identity"
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise _unsupported("The body's Content-Encoding is not supported: use gzip or none.")
    said = headers.get("content-length", "")
    if said.isdigit() and (len(said) > 18 or int(said) > limits.body_bytes):
        raise _too_large(limits)
    body = await _received(receive, limits)
    if encoding == "identity":
        return body
    return await asyncio.to_thread(_decompressed, body, limits)


async def _received(receive: Receive, limits: Limits) -> bytes:
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(limits.body_seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limits.body_bytes:
                    raise _too_large(limits)
    except TimeoutError:
        raise APIError(408, "request_timeout", "The request took too long to arrive.") from None
    return bytes(body)


def _decompressed(body: bytes, limits: Limits) -> bytes:
    """What a gzip body holds; no more of it is made than a body may have."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            whole = file.read(limits.body_bytes + 1)
    except (OSError, EOFError, zlib.error):
        raise bad_request("The request body is not valid gzip.", None, "invalid_gzip") from None
    if len(whole) > limits.body_bytes:
        raise _too_large(limits)
    return whole


def _too_large(limits: Limits) -> APIError:
    most = limits.body_bytes
    return APIError(413, "request_too_large", f"A request body has at most {most} bytes.")


def _unsupported(message: str) -> APIError:
    return APIError(415, "unsupported_media_type", message)
