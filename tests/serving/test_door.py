from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asgi import Client
from cuecard.registry import Registry
from cuecard.serving.keys import add_key, revoke_key
from cuecard.serving.limits import Limits
from serving_app import Running, running

pytestmark = pytest.mark.anyio
ASK = {"model": "reviews", "input": "x"}


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def test_keys(model: Any, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    everything = add_key(file, "ann")
    scoped = add_key(file, "bob", prompts=["reviews@production", "titles"])
    async with running(model, registry, tmp_path / "cache", keys=file) as server:
        client = server.client
        for headers in ({}, bearer("cue_wrong"), bearer(""), {"authorization": "Basic eDp5"}):
            reply = await client.post("/v1/classify", ASK, **headers)
            assert (reply.status, reply.code) == (401, "invalid_api_key")
            assert reply.headers["www-authenticate"] == "Bearer"
        assert (await client.post("/v1/classify", ASK, **bearer(everything))).status == 200
        reply = await client.post("/v1/classify", ASK, **bearer(scoped))
        assert (reply.status, reply.code) == (403, "model_not_allowed")
        for hidden in ("pairs", "nobody", "tiny-llama", "reviews@2"):
            reply = await client.post("/v1/classify", {**ASK, "model": hidden}, **bearer(scoped))
            assert reply.status == 403
        mixed = {**ASK, "model": ["reviews@production", "reviews@2"]}
        assert (await client.post("/v1/classify", mixed, **bearer(scoped))).status == 403
        allowed = {**ASK, "model": "reviews@production"}
        assert (await client.post("/v1/classify", allowed, **bearer(scoped))).status == 200
        listed = (await client.get("/v1/models", **bearer(scoped))).json["data"]
        assert [card["id"] for card in listed] == ["reviews@production", "titles", "titles@1"]
        assert (await client.get("/v1/models/pairs", **bearer(scoped))).status == 403
        assert (await client.get("/metrics")).status == 401
        assert (await client.get("/metrics", **bearer(scoped))).status == 403
        assert (await client.get("/metrics", **bearer(everything))).status == 200
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).json == {"ready": True}
        assert (await client.get("/readyz", **bearer(scoped))).json == {"ready": True}
        assert (await client.get("/readyz", **bearer(everything))).json["prompts"] == 4
        revoke_key(file, "ann")
        assert (await client.post("/v1/classify", ASK, **bearer(everything))).status == 401
        assert {line["key"] for line in server.lines("request") if "key" in line} == {"ann", "bob"}
        assert everything not in server.log.getvalue()


async def test_rates_and_quotas(model: Any, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    few = add_key(file, "few", requests_per_minute=2)
    small = add_key(file, "small", tokens_per_day=1)
    async with running(model, registry, tmp_path / "cache", keys=file) as server:
        statuses = [
            (await server.client.post("/v1/classify", ASK, **bearer(few))).status for _ in range(3)
        ]
        assert statuses == [200, 200, 429]
        server.clock[0] += 30
        assert (await server.client.post("/v1/classify", ASK, **bearer(few))).status == 200
        assert (await server.client.post("/v1/classify", ASK, **bearer(small))).status == 200
        reply = await server.client.post("/v1/classify", ASK, **bearer(small))
        assert (reply.status, reply.code) == (429, "rate_limit_exceeded")
        assert reply.json["error"]["type"] == "rate_limit_error"
        assert int(reply.headers["retry-after"]) > 0


async def test_bodies_have_bounds(model: Any, registry: Registry, tmp_path: Path) -> None:
    limits = Limits(body_bytes=100)
    async with running(model, registry, tmp_path / "cache", limits=limits) as server:
        for headers in ({}, {"content_length": "101"}, {"content_length": "9" * 30}):
            reply = await server.client.post("/v1/classify", b" " * 101, **headers)
            assert (reply.status, reply.code) == (413, "request_too_large")
            assert reply.headers["connection"] == "close"


async def test_a_body_that_does_not_come(model: Any, registry: Registry, tmp_path: Path) -> None:
    limits = Limits(body_seconds=0.01)
    async with running(model, registry, tmp_path / "cache", limits=limits) as server:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/classify",
            "headers": [(b"content-type", b"application/json")],
        }
        sent = []

        async def never() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await server.client.app(scope, never, send)
        assert sent[0]["status"] == 408


async def test_too_many_at_once(model: Any, registry: Registry, tmp_path: Path) -> None:
    limits = Limits(requests=2)
    async with running(model, registry, tmp_path / "cache", limits=limits) as server:
        server.engine.pause.clear()
        body = {"model": "titles", "prompt": "x"}
        working = [asyncio.create_task(server.client.post("/v1/completions", body)) for _ in "12"]
        while server.engine.generating < 2:
            await asyncio.sleep(0)
        reply = await server.client.post("/v1/completions", body)
        assert (reply.status, reply.code) == (503, "overloaded")
        assert reply.headers["retry-after"]
        assert (await server.client.get("/readyz")).status == 200
        server.engine.pause.set()
        assert [(await task).status for task in working] == [200, 200]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_ends_the_work(server: Running, stream: bool) -> None:
    gone = asyncio.Event()
    body = {"model": "titles", "raw": True, "prompt": "x", "max_tokens": 100, "stream": stream}
    if not stream:
        server.engine.pause.clear()

    async def on_body(piece: bytes) -> None:
        server.engine.pause.clear()
        gone.set()

    working = asyncio.create_task(
        server.client.send(
            "POST",
            "/v1/completions",
            str(body).replace("'", '"').replace("True", "true").replace("False", "false").encode(),
            {"content-type": "application/json"},
            gone=gone,
            on_body=on_body,
        )
    )
    while not server.engine.generating:
        await asyncio.sleep(0)
    if not stream:
        gone.set()
    reply = await working
    assert server.engine.generating == 0
    assert server.engine.steps < 100
    assert not reply.whole
    assert server.lines("request")[-1]["status"] == 499
    server.engine.pause.set()
    assert (await server.client.post("/v1/classify", ASK)).status == 200


async def test_an_answer_has_its_time(model: Any, registry: Registry, tmp_path: Path) -> None:
    limits = Limits(seconds=0.05)
    async with running(model, registry, tmp_path / "cache", limits=limits) as server:
        server.engine.pause.clear()
        body = {"model": "titles", "prompt": "x"}
        reply = await server.client.post("/v1/completions", body)
        assert (reply.status, reply.code) == (503, "timeout")
        server.engine.pause.set()

        async def on_body(piece: bytes) -> None:
            server.engine.pause.clear()

        content = b'{"model":"titles","prompt":"x","raw":true,"max_tokens":50,"stream":true}'
        reply = await server.client.send(
            "POST",
            "/v1/completions",
            content,
            {"content-type": "application/json"},
            on_body=on_body,
        )
        # Nothing that could be taken for the whole.
        assert reply.status == 200 and not reply.whole and b"[DONE]" not in reply.body


async def test_a_closed_gate(server: Running) -> None:
    server.gate.draining = True
    reply = await server.client.post("/v1/classify", ASK)
    assert (reply.status, reply.code) == (503, "shutting_down")
    assert reply.headers["retry-after"] and reply.headers["connection"] == "close"
    assert (await server.client.get("/readyz")).status == 503
    assert (await server.client.get("/healthz")).status == 200


async def test_request_ids(server: Running) -> None:
    reply = await server.client.get("/healthz", x_request_id="my-id:1")
    assert reply.headers["x-request-id"] == "my-id:1"
    for bad in ("a b", "x" * 129, "\xff", "a\r\nb"):
        reply = await server.client.get("/healthz", x_request_id=bad)
        assert len(reply.headers["x-request-id"]) == 32


async def test_logs_have_ids_and_no_texts(server: Running) -> None:
    secret = "sesame-opens-up"
    await server.client.post(
        "/v1/classify", {"model": "reviews", "input": secret}, x_request_id="a1"
    )
    await server.client.post("/v1/classify", {"model": "reviews", "input": {secret: secret}})
    await server.client.post("/v1/classify", {"model": secret, "input": secret})
    await server.client.get(f"/{secret}?{secret}")
    first, *others = server.lines("request")
    assert first == {
        **first,
        "request": "a1",
        "route": "/v1/classify",
        "status": 200,
        "model": "reviews@1",
    }
    assert first["prompt_tokens"] > 0 and len(others) == 3
    assert secret not in server.log.getvalue()
    assert secret not in (await server.client.get("/metrics")).body.decode()


async def test_a_fault_of_ours_is_told_without_texts(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(rows: Any) -> Any:
        raise RuntimeError("sesame-opens-up")

    monkeypatch.setattr(server.engine, "score", fail)
    reply = await server.client.post("/v1/classify", ASK)
    assert (reply.status, reply.code) == (500, "internal_error")
    (failure,) = server.lines("failure")
    assert failure["error"] == "RuntimeError" and failure["trace"]
    assert "sesame" not in server.log.getvalue() + reply.body.decode()


async def test_websockets_are_closed(server: Running) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await Client(server.client.app).app({"type": "websocket"}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
