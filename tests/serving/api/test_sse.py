from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cuecard.engine.protocol import Finished, Generation, Token
from cuecard.errors import BackboneError, EngineError
from support.serving.app import Running

pytestmark = pytest.mark.anyio
BODY = {"model": "tiny-llama", "prompt": "a film", "max_tokens": 9, "stream": True}


def failing(after: int, error: Exception) -> Any:
    async def generate(request: Generation) -> AsyncIterator[Token | Finished]:
        for _ in range(after):
            yield Token(70, -1.0)
        raise error

    return generate


async def test_a_failure_midway_is_an_event_and_no_end(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.engine, "generate", failing(3, EngineError("out of memory")))
    reply = await server.client.post("/v1/completions", BODY)
    *chunks, error = reply.events
    assert reply.status == 200 and len(chunks) == 3
    assert error["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_at_once_has_a_status(
    server: Running, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(server.engine, "generate", failing(0, EngineError("out of memory")))
    reply = await server.client.post("/v1/completions", {**BODY, "stream": stream})
    assert (reply.status, reply.code) == (503, "engine_failed")
    assert reply.headers["retry-after"]
    assert "memory" not in reply.json["error"]["message"]
    monkeypatch.setattr(server.engine, "generate", failing(0, BackboneError("it does not fit")))
    reply = await server.client.post("/v1/completions", {**BODY, "stream": stream})
    assert (reply.status, reply.code) == (400, "invalid_value")


async def test_one_of_several_that_fails_ends_the_others(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = server.engine.generate

    def some(request: Generation) -> Any:
        if len(request.context) > 3:
            return failing(1, EngineError("out of memory"))(request)
        return generate(request)

    monkeypatch.setattr(server.engine, "generate", some)
    body = {**BODY, "stream": False, "prompt": ["x", "a longer text than the other"]}
    reply = await server.client.post("/v1/completions", {**body, "max_tokens": 100})
    assert reply.status == 503
    assert server.engine.steps < 100
