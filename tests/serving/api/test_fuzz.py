"""Whatever a client sends: an answer, never one of the 500s, and nothing left behind."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from support.serving.app import Running

pytestmark = pytest.mark.anyio
REQUESTS = 10_000
PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/classify", "/v1/embeddings")
GOOD: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": "titles", "prompt": "x", "max_tokens": 2},
    "/v1/chat/completions": {
        "model": "titles",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 2,
    },
    "/v1/classify": {"model": "reviews", "input": ["x"]},
    "/v1/embeddings": {"model": "tiny-llama", "input": "x"},
}
KEYS = (
    *("model", "prompt", "input", "messages", "max_tokens", "temperature", "top_p", "seed", "stop"),
    *("stream", "stream_options", "n", "fields", "raw", "logprobs", "echo", "suffix", "best_of"),
    *("encoding_format", "dimensions"),
    *("user", "tools", "logit_bias", "role", "content", "\ud800", "x", "__proto__"),
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, float("nan"), float("inf"), 1 << 63, 1 << 200,
    "", "x", "titles", "reviews@1", "reviews@99999999999", "titles@\u0661", "@", "a@b@c", "../etc",
    "\0", "\ud800", "\udfff\ud800", "日本語 🎬", "<|end|></s><s>", "{text}", "{{", "x" * 5000,
    "base64", 32, "near@2", ["x", "y"],
    [], {}, [[]], [None], ["x", 1], {"text": "x"}, {"text": 1}, {"\ud800": "\ud800"},
    [{"role": "user", "content": "x"}], [{"role": "tool", "content": None}], {"include_usage": 1},
)  # fmt: skip


def value(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.random()
    if depth < 3 and kind < 0.1:
        return [value(dice, depth + 1) for _ in range(dice.randrange(4))]
    if depth < 3 and kind < 0.2:
        return {dice.choice(KEYS): value(dice, depth + 1) for _ in range(dice.randrange(4))}
    return dice.choice(VALUES)


def body(dice: random.Random, path: str) -> bytes:
    kind = dice.random()
    if kind < 0.1:
        return bytes(dice.randrange(256) for _ in range(dice.randrange(60)))
    if kind < 0.2:
        sent = value(dice)
    else:
        sent = dict(GOOD[path])
        for _ in range(dice.randrange(4)):
            sent[dice.choice(KEYS)] = value(dice)
        if dice.random() < 0.2:
            sent.pop(dice.choice(list(sent)))
    text = json.dumps(sent).encode()
    if dice.random() < 0.15:
        harmed = bytearray(text)
        for _ in range(dice.randrange(1, 4)):
            harmed[dice.randrange(len(harmed))] = dice.randrange(256)
        return bytes(harmed)
    return text[: dice.randrange(len(text) + 1)] if dice.random() < 0.05 else text


def request(dice: random.Random, paths: Sequence[str]) -> tuple[str, str, bytes, dict[str, str]]:
    path = dice.choice(paths)
    content = body(dice, path)
    headers = {"content-type": "application/json"}
    method = "POST"
    kind = dice.random()
    if kind < 0.02:
        method = dice.choice(["GET", "PUT", "HEAD", "OPTIONS", "BREW"])
    elif kind < 0.04:
        headers = {"content-type": dice.choice(["", "text/html", "application/jsonx", "\xff"])}
    elif kind < 0.06:
        path = dice.choice(["/", "//", "/v1", "/v1/x", "/v1/models/\0", "/v1/models/%ff", "/é"])
    elif kind < 0.08:
        headers["content-length"] = dice.choice(["-1", "x", "99999999999999999999", "0"])
    return method, path, content, headers


async def test_malformed_requests(server: Running) -> None:
    statuses = await asked(server, PATHS, REQUESTS)
    assert set(statuses) >= {200, 400, 404, 405, 413, 415}, statuses
    assert statuses[200] > REQUESTS // 20, statuses


async def test_malformed_requests_for_vectors(vectors: Running) -> None:
    statuses = await asked(vectors, ("/v1/embeddings",), REQUESTS // 5)
    assert set(statuses) >= {200, 400, 404, 405, 415}, statuses
    assert statuses[200] > REQUESTS // 50, statuses


async def asked(server: Running, paths: Sequence[str], count: int) -> Counter[int]:
    """The statuses of so many requests; none is one of the 500s, and nothing is left behind."""
    dice = random.Random(20261125)
    statuses: Counter[int] = Counter()
    name = server.catalog.backbone
    for number in range(count):
        method, path, content, headers = request(dice, paths)
        content = content.replace(b"tiny-llama", name.encode())
        reply = await server.client.send(method, path, content, headers)
        told = f"request {number}: {method} {path} {content!r} -> {reply.status} {reply.body!r}"
        assert 200 <= reply.status < 500, told
        assert reply.whole, told
        if reply.status >= 400 and method != "HEAD":
            assert set(reply.json) == {"error"}, told
        statuses[reply.status] += 1
    assert (server.limiter.open, server.catalog.in_use, server.engine.generating) == (0, 0, 0)
    assert server.engine.held == {
        served.held.digest for entry in server.catalog.entries.values() for served in entry.prompts
    }
    assert server.lines("failure") == []
    return statuses
