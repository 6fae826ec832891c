"""Requests to an ASGI application in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """What came back.

    Attributes:
        whole: whether the body's end was sent.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error."""
        return str(self.json["error"]["code"])

    @property
    def events(self) -> list[Any]:
        """Server-sent events; the end's mark as it stands."""
        texts = [part.removeprefix("data: ") for part in self.body.decode().split("\n\n") if part]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]


@dataclass
class Client:
    """Calls an application.

    Args:
        app: ASGI.
        headers: sent each time.
    """

    app: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.send("GET", path, b"", headers)

    async def post(self, path: str, body: Any, **headers: str) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send(
            "POST", path, content, {"content-type": "application/json", **headers}
        )

    async def send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        gone: asyncio.Event | None = None,
        on_body: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> Reply:
        """One request.

        Args:
            gone: the client leaves when it is set. As from uvicorn, the end of the response is
                reported as a disconnect too.
            on_body: called with every piece of the answer's body.
        """
        reply, left = Reply(), [body]
        gone = gone or asyncio.Event()
        sent = {**self.headers, **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path.partition("?")[0],
            "raw_path": path.encode("utf-8", "replace"),
            "query_string": path.partition("?")[2].encode("utf-8", "replace"),
            "root_path": "",
            "headers": [
                (name.lower().replace("_", "-").encode(), value.encode("latin-1"))
                for name, value in sent.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }

        async def receive() -> dict[str, Any]:
            if left:
                return {"type": "http.request", "body": left.pop(), "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {k.decode(): v.decode() for k, v in message["headers"]}
                return
            reply.body += message.get("body", b"")
            reply.whole = not message.get("more_body", False)
            if on_body is not None and message.get("body"):
                await on_body(message["body"])
            if reply.whole:
                gone.set()
                await asyncio.sleep(0)

        await self.app(scope, receive, send)
        return reply
