"""An OpenAI-compatible endpoint whose answers are a function of what it is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cuecard.llms.protocol import LLMMessage, LLMRequest


@dataclass
class HttpLLM:
    """An endpoint that runs.

    Attributes:
        url: its address.
        asked: every request's body, in order.
    """

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def http_llm(
    answer: Callable[[LLMRequest], str | None],
    *,
    failure: int = 500,
    usage: tuple[int, int] | None = None,
) -> Iterator[HttpLLM]:
    """Serve while the block runs.

    Args:
        answer: gives an answer's text; None for an error.
        failure: the HTTP status of an error.
        usage: tokens that every answer says were read and written; by default a quarter of the
            characters.
    """
    made = HttpLLM()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append(body)
            messages = tuple(LLMMessage(each["role"], each["content"]) for each in body["messages"])
            request = LLMRequest(messages, body["max_tokens"], body["temperature"])
            text = answer(request)
            status, found = failure, _FAILURE
            if text is not None:
                tokens = usage or _tokens(body, text)
                status, found = 200, _completion(body["model"], text, *tokens)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


_FAILURE: dict[str, Any] = {"error": {"message": "no", "code": "x", "type": "x"}}


def _tokens(body: dict[str, Any], text: str) -> tuple[int, int]:
    read = sum(len(each["content"]) for each in body["messages"]) // 4
    return read, min(len(text) // 4, body["max_tokens"])


def _completion(model: str, text: str, read: int, written: int) -> dict[str, Any]:
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
    }
    usage = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }
