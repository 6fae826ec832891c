from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cuecard.registry import Registry
from cuecard.serving.http.auth import add_key, revoke_key
from cuecard.serving.settings import Limits
from support.asgi import Client
from support.serving.app import Running, running

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


async def test_what_each_key_uses(model: Any, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secrets = {name: add_key(file, name) for name in ("ann", "bob")}
    text = {"model": "titles", "prompt": "a film", "max_tokens": 3}
    async with running(model, registry, tmp_path / "cache", keys=file) as server:
        used = {"prompt": 0, "completion": 0}
        for _ in range(2):
            reply = await server.client.post("/v1/completions", text, **bearer(secrets["ann"]))
            for kind in used:
                used[kind] += reply.json["usage"][f"{kind}_tokens"]
        await server.client.post("/v1/completions", text)  # 401
        unknown = {**text, "model": "nobody"}
        await server.client.post("/v1/completions", unknown, **bearer(secrets["bob"]))
        shown = (await server.client.get("/metrics", **bearer(secrets["ann"]))).body.decode()
    lines = [line for line in shown.splitlines() if line.startswith("cuecard_key_")]
    found = {line for line in lines if "_created" not in line}
    assert found == {
        'cuecard_key_requests_total{key="ann",status="200"} 2.0',
        'cuecard_key_requests_total{key="bob",status="404"} 1.0',
        *(
            f'cuecard_key_tokens_total{{key="ann",kind="{kind}"}} {float(count)}'
            for kind, count in used.items()
        ),
    }
    first = 'cuecard_first_token_seconds_count{route="/v1/completions"}'
    assert f"{first} 2.0" in shown.splitlines()  # no token came of the others


async def test_raw_needs_a_scope_of_its_own(model: Any, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    named = add_key(file, "named", prompts=["titles", "reviews", "tiny-llama"])
    freely = add_key(file, "freely", prompts=["titles"], raw=True)
    bare = add_key(file, "bare", raw=True)
    text = {"prompt": "x", "max_tokens": 2}
    chat = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
    async with running(model, registry, tmp_path / "cache", keys=file) as server:

        async def status(secret: str, body: dict[str, Any]) -> int:
            statuses = set()
            for path, more in (("/v1/completions", text), ("/v1/chat/completions", chat)):
                for stream in (False, True):
                    asked = {**body, **more, "stream": stream}
                    reply = await server.client.post(path, asked, **bearer(secret))
                    statuses.add(reply.status)
            (found,) = statuses
            return found

        for model_name in ("titles", "reviews"):
            assert await status(named, {"model": model_name}) == 200
            assert await status(named, {"model": model_name, "raw": True}) == 403
        assert await status(named, {"model": "tiny-llama"}) == 403
        assert await status(named, {"model": "tiny-llama", "raw": True}) == 403
        assert await status(named, {"model": "tiny-llama@1"}) == 404
        assert await status(freely, {"model": "titles", "raw": True}) == 200
        assert await status(freely, {"model": "tiny-llama"}) == 200
        assert await status(freely, {"model": "reviews", "raw": True}) == 403
        assert await status(bare, {"model": "tiny-llama"}) == 200
        assert await status(bare, {"model": "titles"}) == 403
        reply = await server.client.post(
            "/v1/completions", {"model": "titles", **text, "raw": True}, **bearer(named)
        )
        assert reply.json["error"] == {
            **reply.json["error"],
            "code": "model_not_allowed",
            "param": "raw",
        }
        for secret, listed in ((named, False), (freely, True), (bare, True)):
            reply = await server.client.get("/v1/models", **bearer(secret))
            assert ("tiny-llama" in [card["id"] for card in reply.json["data"]]) is listed
            one = await server.client.get("/v1/models/tiny-llama", **bearer(secret))
            assert one.status == (200 if listed else 403)


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


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
async def test_compressed_bodies(server: Running, encoding: str) -> None:
    plain = await server.client.post("/v1/classify", ASK)
    content = json.dumps(ASK).encode()
    members = gzip.compress(content[:9]) + gzip.compress(content[9:])
    for body in (gzip.compress(content), members):
        reply = await server.client.post("/v1/classify", body, content_encoding=encoding)
        assert (reply.status, reply.json["data"]) == (200, plain.json["data"])


async def test_compressed_bodies_that_are_refused(
    model: Any, registry: Registry, tmp_path: Path
) -> None:
    whole = gzip.compress(json.dumps(ASK).encode())
    bomb = gzip.compress(b" " * (1 << 24))
    limits = Limits(max_body_bytes=1 << 16)
    assert len(bomb) < limits.max_body_bytes
    async with running(model, registry, tmp_path / "cache", limits=limits) as server:
        for body, encoding, status, code in (
            (bomb, "gzip", 413, "request_too_large"),
            (whole[:-9], "gzip", 400, "invalid_gzip"),
            (b"{}", "gzip", 400, "invalid_gzip"),
            (whole + b"x", "gzip", 400, "invalid_gzip"),
            (b"", "gzip", 400, "invalid_value"),
            (whole, "br", 415, "unsupported_media_type"),
            (whole, "deflate", 415, "unsupported_media_type"),
            (whole, "gzip, gzip", 415, "unsupported_media_type"),
            (whole, "identity", 400, "invalid_json"),
        ):
            reply = await server.client.post("/v1/classify", body, content_encoding=encoding)
            assert (reply.status, reply.code) == (status, code), (body[:9], encoding)
            assert status != 415 or "gzip" in reply.json["error"]["message"]


async def test_heads_alone(server: Running) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/titles", "/nowhere"):
        got = await server.client.get(path)
        asked = await server.client.send("HEAD", path, b"", {})
        assert (asked.status, asked.body) == (got.status, b"")
        assert asked.headers["content-type"] == got.headers["content-type"]
    refused = await server.client.send("HEAD", "/v1/completions", b"", {})
    assert (refused.status, refused.body) == (405, b"")


async def test_two_ends_of_one_body(server: Running) -> None:
    reply = await server.client.post(
        "/v1/classify", ASK, content_length="10", transfer_encoding="chunked"
    )
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert reply.headers["connection"] == "close"


async def test_browsers(model: Any, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    mine = add_key(file, "ann")
    page = "https://app.example.com"
    asked = {
        "access_control_request_method": "POST",
        "access_control_request_headers": "authorization,content-type,x-stainless-lang",
    }
    async with running(model, registry, tmp_path / "c", keys=file, cors=(page,)) as server:
        path = "/v1/classify"
        reply = await server.client.send("OPTIONS", path, b"", {"origin": page, **asked})
        assert reply.status == 200
        assert reply.headers["access-control-allow-origin"] == page
        assert "POST" in reply.headers["access-control-allow-methods"]
        allowed = reply.headers["access-control-allow-headers"].lower()
        assert {"authorization", "content-type", "x-stainless-lang"} <= {
            name.strip() for name in allowed.split(",")
        }
        local = {"origin": page, **asked, "access_control_request_private_network": "true"}
        assert (await server.client.send("OPTIONS", path, b"", local)).status == 200
        for headers, status in ((bearer(mine), 200), (bearer("cue_wrong"), 401)):
            reply = await server.client.post(path, ASK, origin=page, **headers)
            assert reply.status == status
            assert reply.headers["access-control-allow-origin"] == page
        other = {"origin": "https://evil.example.com", **asked}
        assert (await server.client.send("OPTIONS", path, b"", other)).status == 400
        reply = await server.client.post(path, ASK, origin=other["origin"], **bearer(mine))
        assert "access-control-allow-origin" not in reply.headers
    async with running(model, registry, tmp_path / "d") as server:
        reply = await server.client.send("OPTIONS", path, b"", {"origin": page, **asked})
        assert reply.status == 405 and "access-control-allow-origin" not in reply.headers
    async with running(model, registry, tmp_path / "e", cors=("*",)) as server:
        reply = await server.client.post(path, ASK, origin="null")
        assert reply.headers["access-control-allow-origin"] == "*"


async def test_bodies_have_bounds(model: Any, registry: Registry, tmp_path: Path) -> None:
    limits = Limits(max_body_bytes=100)
    async with running(model, registry, tmp_path / "cache", limits=limits) as server:
        for headers in ({}, {"content_length": "101"}, {"content_length": "9" * 30}):
            reply = await server.client.post("/v1/classify", b" " * 101, **headers)
            assert (reply.status, reply.code) == (413, "request_too_large")
            assert reply.headers["connection"] == "close"


async def test_a_body_that_does_not_come(model: Any, registry: Registry, tmp_path: Path) -> None:
    limits = Limits(body_timeout=0.01)
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


async def test_slow_bodies_of_one_key(model: Any, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    slow, other = add_key(file, "slow"), add_key(file, "other")
    limits = Limits(max_requests=2, max_requests_per_key=3)
    async with running(model, registry, tmp_path / "cache", limits=limits, keys=file) as server:
        come = asyncio.Event()
        begun = [
            asyncio.create_task(slowly(server, come, **bearer(slow)))
            for _ in range(limits.max_requests_per_key)
        ]
        while server.limiter.open < limits.max_requests_per_key:
            await asyncio.sleep(0)
        for _ in range(3):
            assert (await server.client.post("/v1/classify", ASK, **bearer(other))).status == 200
        reply = await server.client.post("/v1/classify", ASK, **bearer(slow))
        assert (reply.status, reply.code) == (429, "rate_limit_exceeded")
        assert reply.headers["retry-after"] and reply.headers["connection"] == "close"
        come.set()
        assert 200 in [await each for each in begun]


async def slowly(server: Running, come: asyncio.Event, **headers: str) -> int:
    """The status of a request whose body begins, and goes on when it may."""
    parts, sent = [b"", json.dumps(ASK).encode()], []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/classify",
        "headers": [
            (b"content-type", b"application/json"),
            *((name.encode(), value.encode()) for name, value in headers.items()),
        ],
        "query_string": b"",
    }

    async def receive() -> Any:
        if len(parts) == 1:
            await come.wait()
        if not parts:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    await server.client.app(scope, receive, send)
    return int(sent[0]["status"])


async def test_tokens_are_set_aside(model: Any, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    mine = add_key(file, "ann", tokens_per_minute=50)
    body = {"model": "titles", "prompt": "a film", "raw": True, "max_tokens": 12}
    async with running(model, registry, tmp_path / "cache", keys=file) as server:
        server.engine.pause.clear()
        asked = [
            asyncio.create_task(server.client.post("/v1/completions", body, **bearer(mine)))
            for _ in range(12)
        ]
        while sum(each.done() for each in asked) + server.engine.generating < 12:
            await asyncio.sleep(0)
        server.engine.pause.set()
        replies = [await each for each in asked]
        answered = [reply.json["usage"]["total_tokens"] for reply in replies if reply.status == 200]
        assert answered and sum(answered) <= 50
        assert [reply.status for reply in replies].count(429) == 12 - len(answered)


async def test_too_many_at_once(model: Any, registry: Registry, tmp_path: Path) -> None:
    limits = Limits(max_requests=2)
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


@pytest.mark.parametrize("stream", [False, True])
async def test_a_complete_response_is_not_a_disconnect(server: Running, stream: bool) -> None:
    body = {"model": "titles", "prompt": "x", "max_tokens": 3, "stream": stream}
    reply = await server.client.post("/v1/completions", body)
    assert reply.whole and reply.status == 200
    assert server.lines("request")[-1]["status"] == 200


async def test_an_answer_has_its_time(model: Any, registry: Registry, tmp_path: Path) -> None:
    limits = Limits(timeout=0.05)
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
    server.shutdown.draining = True
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
