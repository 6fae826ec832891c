"""Several choices of one prompt, and the likeliest tokens in each place."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import Any

import pytest

from cuecard.serving.http.auth import add_key
from cuecard.serving.settings import Limits
from support.serving.app import Running, running

pytestmark = pytest.mark.anyio
ROUTES = {
    "/v1/completions": {"prompt": "a film so warm"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a film so warm"}]},
}
DRAWN = {"model": "tiny-llama", "max_tokens": 6, "temperature": 1.5, "seed": 7}


def text_of(choice: Any) -> str:
    found: str = choice["text"] if "text" in choice else choice["message"]["content"]
    return found


@pytest.mark.parametrize("route", ROUTES)
async def test_each_choice_is_drawn_for_itself_and_a_seed_repeats_them(
    server: Running, route: str
) -> None:
    body = {**DRAWN, **ROUTES[route], "n": 3}
    first, again = [await server.client.post(route, body) for _ in range(2)]
    assert [choice["index"] for choice in first.json["choices"]] == [0, 1, 2]
    texts = [text_of(choice) for choice in first.json["choices"]]
    assert len(set(texts)) == 3
    assert texts == [text_of(choice) for choice in again.json["choices"]]
    alone = await server.client.post(route, {**body, "n": 1})
    assert text_of(alone.json["choices"][0]) == texts[0]


@pytest.mark.parametrize("route", ROUTES)
async def test_a_prompt_is_counted_once_and_every_choice_by_itself(
    server: Running, route: str
) -> None:
    logprobs: Any = True if "chat" in route else 0
    body = {**DRAWN, **ROUTES[route], "logprobs": logprobs}
    one = (await server.client.post(route, {**body, "n": 1})).json["usage"]
    three = (await server.client.post(route, {**body, "n": 3})).json
    used = three["usage"]
    assert used["prompt_tokens"] == one["prompt_tokens"]
    found = [choice["logprobs"] for choice in three["choices"]]
    tokens = [each["content"] if "content" in each else each["tokens"] for each in found]
    assert used["completion_tokens"] == sum(map(len, tokens)) > 3
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]


async def test_choices_of_several_prompts_stand_prompt_by_prompt(server: Running) -> None:
    body = {**DRAWN, "prompt": ["a film", "the fox"], "n": 2}
    both = (await server.client.post("/v1/completions", body)).json["choices"]
    assert [choice["index"] for choice in both] == [0, 1, 2, 3]
    fox = (await server.client.post("/v1/completions", {**body, "prompt": "the fox"})).json
    assert [text_of(choice) for choice in both[2:]] == [text_of(c) for c in fox["choices"]]


@pytest.mark.parametrize("route", ROUTES)
async def test_a_stream_carries_every_choice_to_its_own_end(server: Running, route: str) -> None:
    body = {**DRAWN, **ROUTES[route], "n": 3}
    whole = (await server.client.post(route, body)).json["choices"]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last, _ = (await server.client.post(route, {**body, **options})).events
    texts: defaultdict[int, str] = defaultdict(str)
    roles: defaultdict[int, int] = defaultdict(int)
    ends = {}
    for (choice,) in (chunk["choices"] for chunk in chunks):
        assert choice["index"] not in ends
        delta = choice.get("delta", {})
        texts[choice["index"]] += choice.get("text") or delta.get("content") or ""
        roles[choice["index"]] += "role" in delta
        if choice["finish_reason"]:
            ends[choice["index"]] = choice["finish_reason"]
    assert [texts[n] for n in range(3)] == [text_of(choice) for choice in whole]
    assert [ends[n] for n in range(3)] == [choice["finish_reason"] for choice in whole]
    assert set(roles.values()) == ({1} if "chat" in route else {0})
    assert last["usage"]["completion_tokens"] > 3


async def test_too_many_choices_and_choices_of_a_label_are_refused(
    model: Any, registry: Any, tmp_path: Any
) -> None:
    async with running(model, registry, tmp_path / "cache", limits=Limits(max_texts=4)) as server:
        body = {**DRAWN, "prompt": ["a", "b"], "n": 3}
        many = await server.client.post("/v1/completions", body)
        assert (many.status, many.code, many.json["error"]["param"]) == (
            413,
            "batch_too_large",
            "n",
        )
        label = {"model": "reviews", "prompt": "a film", "n": 2}
        refused = await server.client.post("/v1/completions", label)
        assert (refused.status, refused.json["error"]["param"]) == (400, "n")
        assert "label" in refused.json["error"]["message"]
        assert server.engine.steps == 0


async def test_every_choice_counts_against_a_keys_tokens(
    model: Any, registry: Any, tmp_path: Any
) -> None:
    file = tmp_path / "keys.json"
    mine = add_key(file, "ann", tokens_per_minute=60, raw=True)
    async with running(model, registry, tmp_path / "cache", keys=file) as server:
        body = {**DRAWN, "prompt": "a film", "max_tokens": 8}
        auth = {"authorization": f"Bearer {mine}"}
        first = await server.client.post("/v1/completions", {**body, "n": 4}, **auth)
        left = 60 - first.json["usage"]["total_tokens"]
        assert 15 < left < 30
        # Four could pass what is left, and are refused before any of them is written.
        steps = server.engine.steps
        again = await server.client.post("/v1/completions", {**body, "n": 4}, **auth)
        assert (again.status, server.engine.steps) == (429, steps)
        assert (await server.client.post("/v1/completions", body, **auth)).status == 200


async def test_the_likeliest_tokens_of_a_chat(server: Running) -> None:
    body = {
        "model": "tiny-llama",
        "max_tokens": 4,
        **ROUTES["/v1/chat/completions"],
        "logprobs": True,
        "top_logprobs": 5,
    }
    (choice,) = (await server.client.post("/v1/chat/completions", body)).json["choices"]
    content = choice["logprobs"]["content"]
    assert len(content) == 4
    for place in content:
        logs = [each["logprob"] for each in place["top_logprobs"]]
        assert len(logs) == 5 and logs == sorted(logs, reverse=True)
        # Greedy: the one that was taken is the likeliest.
        best = place["top_logprobs"][0]
        assert (best["token"], best["logprob"]) == (place["token"], place["logprob"])
        assert bytes(place["bytes"]).decode(errors="replace") == place["token"]
    *chunks, _ = (await server.client.post("/v1/chat/completions", {**body, "stream": True})).events
    streamed = [
        place
        for chunk in chunks
        for place in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert streamed == content


async def test_the_likeliest_tokens_of_a_completion(server: Running) -> None:
    body = {"model": "tiny-llama", "max_tokens": 4, "prompt": "the quick brown", "logprobs": 3}
    (choice,) = (await server.client.post("/v1/completions", body)).json["choices"]
    found = choice["logprobs"]
    assert len(found["tokens"]) == len(found["top_logprobs"]) == 4
    for token, log, top in zip(
        found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True
    ):
        assert len(top) <= 3 and max(top.values()) == log == top[token]
    # Two halves of characters have one text.
    assert max(map(len, found["top_logprobs"])) == 3
    reply = await server.client.post("/v1/completions", {**body, "stream": True})
    parts = [chunk["choices"][0]["logprobs"] for chunk in reply.events[:-1]]
    assert [t for part in parts if part for t in part["tokens"]] == found["tokens"]
    assert [o for part in parts if part for o in part["text_offset"]] == found["text_offset"]


async def test_the_likeliest_are_asked_for_with_logprobs(server: Running) -> None:
    body = {"model": "tiny-llama", **ROUTES["/v1/chat/completions"]}
    for more in ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 21}):
        reply = await server.client.post("/v1/chat/completions", {**body, **more})
        assert (reply.status, reply.json["error"]["param"]) == (400, "top_logprobs")


async def test_a_client_that_goes_ends_every_choice(server: Running) -> None:
    gone = asyncio.Event()

    async def leave(body: bytes) -> None:
        gone.set()

    body = {**DRAWN, "prompt": "a film", "n": 3, "max_tokens": 200, "stream": True}
    await server.client.send(
        "POST",
        "/v1/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
        gone=gone,
        on_body=leave,
    )
    assert server.engine.generating == 0
    assert server.engine.steps < 100
