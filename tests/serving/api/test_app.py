from __future__ import annotations

from typing import Any

import pytest

from support.serving.app import Running

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "asked", ["nobody", "reviews@9", "reviews@staging", "reviews@", "@1", "x" * 200]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_prompt_is_never_the_backbones_answer(
    server: Running, asked: str, stream: bool
) -> None:
    steps = server.engine.steps
    for path, more in (
        ("/v1/completions", {"prompt": "x", "stream": stream}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/v1/classify", {"input": "x"}),
    ):
        reply = await server.client.post(path, {"model": asked, **more})
        assert (reply.status, reply.code) == (404, "model_not_found")
        assert reply.json["error"]["param"] == "model"
    assert server.engine.steps == steps


async def test_models(server: Running) -> None:
    listed = (await server.client.get("/v1/models")).json
    assert [card["id"] for card in listed["data"]] == [
        "tiny-llama",
        "pairs",
        "pairs@1",
        "reviews",
        "reviews@production",
        "reviews@1",
        "reviews@2",
        "titles",
        "titles@1",
    ]
    for card in listed["data"]:
        reply = await server.client.get(f"/v1/models/{card['id']}")
        assert reply.json == card
    card = (await server.client.get("/v1/models/reviews")).json
    assert card["root"] == "reviews@1" and card["labels"] == ["negative", "positive"]
    assert (await server.client.get("/v1/models/reviews@latest")).json["root"] == "reviews@2"
    assert (await server.client.get("/v1/models/titles")).json["root"] == "titles@1"
    assert (await server.client.get("/v1/models/nobody")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("GET", "/", b"", {}, 404, "not_found"),
        ("GET", "/v1/", b"", {}, 404, "not_found"),
        ("GET", "/docs", b"", {}, 404, "not_found"),
        ("GET", "/v1/completions", b"", {}, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", b"", {}, 405, "method_not_allowed"),
        ("OPTIONS", "/v1/completions", b"", {}, 405, "method_not_allowed"),
        ("POST", "/v1/completions", b"{}", {"content-type": "text/plain"}, 415, None),
        ("POST", "/v1/completions", b"{}", {}, 415, "unsupported_media_type"),
        (
            "POST",
            "/v1/completions",
            b"a=1",
            {"content-type": "application/x-www-form-urlencoded"},
            415,
            None,
        ),
        (
            "POST",
            "/v1/completions",
            b"{",
            {"content-type": "application/json"},
            400,
            "invalid_json",
        ),
        ("POST", "/v1/completions", b"\xff\xfe", JSON, 400, "invalid_json"),
        ("POST", "/v1/completions", b"[" * 90_000, JSON, 400, "invalid_json"),
        ("POST", "/v1/completions", b"9" * 90_000, JSON, 400, "invalid_json"),
        ("POST", "/v1/completions", b"", {"content-type": "application/json"}, 400, None),
        ("POST", "/v1/completions", b"null", {"content-type": "application/json"}, 400, None),
        (
            "POST",
            "/v1/completions",
            b"[]",
            {"content-type": "application/json; charset=utf-8"},
            400,
            None,
        ),
    ],
)
async def test_every_error_has_openais_shape(
    server: Running, method: str, path: str, body: bytes, headers: Any, status: int, code: Any
) -> None:
    reply = await server.client.send(method, path, body, headers)
    assert reply.status == status
    assert set(reply.json) == {"error"}
    assert set(reply.json["error"]) == {"message", "type", "param", "code"}
    assert code is None or reply.code == code
    assert reply.headers["x-request-id"]


async def test_half_characters_are_refused(server: Running) -> None:
    for body in (
        b'{"model": "tiny-llama", "prompt": "\\ud800"}',
        b'{"model": "\\ud800", "prompt": "x"}',
        b'{"model": "tiny-llama", "prompt": "x", "\\ud800": 1}',
        b'{"model": "titles", "fields": {"\\udfff": "x"}}',
    ):
        reply = await server.client.send(
            "POST", "/v1/completions", body, {"content-type": "application/json"}
        )
        assert reply.status == 400


async def test_the_description(server: Running) -> None:
    described = (await server.client.get("/openapi.json")).json
    assert set(described["paths"]) == {
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/classify",
        "/v1/segment",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/models",
        "/v1/models/{model}",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    assert "422" not in str(described)


async def test_health_and_metrics(server: Running) -> None:
    assert (await server.client.get("/healthz")).json == {"status": "ok"}
    await server.client.post("/v1/completions", {"model": "titles", "prompt": "x"})
    ready = await server.client.get("/readyz")
    assert ready.status == 200
    assert ready.json["prompts"] == 4
    assert ready.json["registry"]["reachable"] is True
    text = (await server.client.get("/metrics")).body.decode()
    assert 'cuecard_requests_total{route="/v1/completions",status="200"} 1.0' in text
    assert 'cuecard_tokens_total{kind="completion",model="titles@1"}' in text
    assert "cuecard_prompts_served 4.0" in text
    assert "cuecard_registry_reachable 1.0" in text
    assert "cuecard_engine_prompts 4.0" in text
    assert "cuecard_open_requests 0.0" in text
