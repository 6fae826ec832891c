"""Read and decompress a request body, within limits of size and time."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import zlib

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from cuecard.serving.protocol.errors import APIError, bad_request
from cuecard.serving.settings import Limits

_JSON = re.compile(r"^application/json\s*(;|$)", re.IGNORECASE)
_FORM = re.compile(r"^multipart/form-data\s*(;|$)", re.IGNORECASE)


class ClientDisconnected(Exception):  # noqa: N818 - not an error; starlette's name
    """The client closed the connection."""


def check_framing(scope: Scope) -> None:
    """Reject a body whose length is given in two ways, which allows request smuggling.

    RFC 9112, section 6.3. The connection has to be closed afterwards.

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


def is_form(headers: Headers) -> bool:
    """Whether a body is declared as a form with files."""
    return _FORM.match(headers.get("content-type", "")) is not None


async def read_body(
    scope: Scope, receive: Receive, limits: Limits, *, forms: bool = False
) -> bytes:
    """The complete body of a request.

    Args:
        forms: whether it may be a form instead of JSON.

    Raises:
        APIError: too large, compressed or not; too slow; not declared as JSON or as a form; or in
            an unsupported encoding.
        ClientDisconnected: the client closed the connection.
    """
    headers = Headers(scope=scope)
    known = _JSON.match(headers.get("content-type", "")) or (forms and is_form(headers))
    if scope["method"] == "POST" and not known:
        form = ", or a form: multipart/form-data" if forms else ""
        raise _unsupported(f"The body must be JSON: Content-Type: application/json{form}.")
    encoding = ", ".join(headers.getlist("content-encoding")).strip().lower() or "identity"
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise _unsupported("The body's Content-Encoding is not supported: use gzip or none.")
    length = headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > limits.max_body_bytes):
        raise _too_large(limits)
    body = await _received(receive, limits)
    if encoding == "identity":
        return body
    return await asyncio.to_thread(_decompressed, body, limits)


async def _received(receive: Receive, limits: Limits) -> bytes:
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(limits.body_timeout):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limits.max_body_bytes:
                    raise _too_large(limits)
    except TimeoutError:
        raise APIError(408, "request_timeout", "The request took too long to arrive.") from None
    return bytes(body)


def _decompressed(body: bytes, limits: Limits) -> bytes:
    """Decompress gzip, up to the size limit."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            content = file.read(limits.max_body_bytes + 1)
    except (OSError, EOFError, zlib.error):
        raise bad_request("The request body is not valid gzip.", None, "invalid_gzip") from None
    if len(content) > limits.max_body_bytes:
        raise _too_large(limits)
    return content


def _too_large(limits: Limits) -> APIError:
    return APIError(
        413, "request_too_large", f"Request bodies are limited to {limits.max_body_bytes} bytes."
    )


def _unsupported(message: str) -> APIError:
    return APIError(415, "unsupported_media_type", message)
