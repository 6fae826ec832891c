"""`response_format`: what is written always is JSON, after the schema."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from cuecard.engine.json_grammar import MAX_CHARACTERS, GrammarCompiler, GrammarError
from support.serving.app import Running
from support.tiny import tiny_tokenizer

pytestmark = pytest.mark.anyio
CHAT = {"model": "tiny-llama", "messages": [{"role": "user", "content": "a film"}]}
# Ends by itself whatever the model likes.
SCHEMA = {
    "type": "object",
    "properties": {
        "good": {"type": "boolean"},
        "stars": {"enum": [1, 2, 3]},
        "tags": {"type": "array", "items": {"enum": ["warm", "funny"]}, "maxItems": 2},
    },
    "required": ["good", "stars", "tags"],
    "additionalProperties": False,
}


def wanted(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "review", "schema": schema, **more}}


async def refusal_of(grammars: GrammarCompiler, schema: Any) -> str:
    with pytest.raises(GrammarError) as caught:
        await grammars.compile(schema)
    return str(caught.value.got)


@pytest.mark.parametrize("drawn", [{}, {"temperature": 1.3, "seed": 3, "n": 3}])
async def test_an_answer_follows_its_schema(server: Running, drawn: dict[str, Any]) -> None:
    format_ = wanted(SCHEMA, strict=True, description="A review.")
    body = {**CHAT, "response_format": format_, **drawn}
    reply = await server.client.post("/v1/chat/completions", body)
    choices = reply.json["choices"]
    assert len(choices) == drawn.get("n", 1)
    for choice in choices:
        found = json.loads(choice["message"]["content"])
        assert set(found) == {"good", "stars", "tags"} and found["stars"] in (1, 2, 3)
        assert choice["finish_reason"] == "stop"


async def test_a_schema_beside_another_type_is_followed_or_refused(server: Running) -> None:
    """It is never passed over."""
    format_ = {**wanted(SCHEMA), "type": "json_object"}
    body = {**CHAT, "response_format": format_}
    (choice,) = (await server.client.post("/v1/chat/completions", body)).json["choices"]
    assert json.loads(choice["message"]["content"])["stars"] in (1, 2, 3)
    body = {**CHAT, "response_format": {**format_, "type": "text"}}
    reply = await server.client.post("/v1/chat/completions", body)
    assert reply.status == 400 and 'must have type "json_schema"' in reply.json["error"]["message"]
    for type_, status in (("json_object", 200), ("text", 400)):
        text = {"format": {"type": type_, "schema": SCHEMA}}
        reply = await server.client.post(
            "/v1/responses", {"model": "tiny-llama", "input": "x", "text": text}
        )
        assert reply.status == status, reply.body


async def test_a_stream_gives_the_same_json(server: Running) -> None:
    body = {**CHAT, "response_format": wanted(SCHEMA)}
    whole = (await server.client.post("/v1/chat/completions", body)).json["choices"][0]
    reply = await server.client.post("/v1/chat/completions", {**body, "stream": True})
    deltas = [event["choices"][0]["delta"] for event in reply.events[:-1]]
    assert "".join(d.get("content", "") for d in deltas) == whole["message"]["content"]


async def test_an_answer_that_is_cut_says_length(server: Running) -> None:
    body = {**CHAT, "response_format": {"type": "json_object"}, "max_tokens": 1}
    (choice,) = (await server.client.post("/v1/chat/completions", body)).json["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == "{"


async def test_a_completion_and_a_tasks_text_take_it_too(server: Running) -> None:
    for more in ({"model": "tiny-llama"}, {"model": "titles"}):
        body = {**more, "prompt": "a film", "max_tokens": 60, "response_format": wanted(SCHEMA)}
        (choice,) = (await server.client.post("/v1/completions", body)).json["choices"]
        assert json.loads(choice["text"])["stars"] in (1, 2, 3)


async def test_text_is_as_without_it(server: Running) -> None:
    short = {**CHAT, "max_tokens": 8}
    plain = await server.client.post("/v1/chat/completions", short)
    for format_ in ({"type": "text"}, None):
        body = {**short, "response_format": format_}
        reply = await server.client.post("/v1/chat/completions", body)
        assert reply.json["choices"] == plain.json["choices"]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "colour"}, "colour"),
        ({"not": {"type": "string"}}, "not supported"),
        ({"$ref": "https://example.com/review.json"}, "outside the schema"),
        ({"$ref": "#/$defs/missing"}, "does not exist"),
        ({"type": "integer", "minimum": 9, "maximum": 1}, "minimum"),
        ({"type": "string", "pattern": "("}, "regex"),
        ({"properties": 3}, "properties must be an object"),
    ],
)
async def test_a_schema_that_cannot_be_enforced_is_refused_with_the_reason(
    server: Running, schema: Any, said: str
) -> None:
    body = {**CHAT, "response_format": wanted(schema)}
    reply = await server.client.post("/v1/chat/completions", body)
    error = reply.json["error"]
    assert (reply.status, error["param"]) == (400, "response_format.json_schema")
    assert said in error["message"] and "cannot be enforced" in error["message"]
    assert server.engine.steps == 0


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"anyOf": [{"$ref": "#"}]},
        {
            "$defs": {
                "page": {
                    "type": "object",
                    "properties": {"next": {"$ref": "#/$defs/page"}},
                    "required": ["next"],
                }
            },
            "$ref": "#/$defs/page",
        },
    ],
)
async def test_a_schema_without_a_finite_instance_fails_alone(server: Running, schema: Any) -> None:
    endless = {**CHAT, "response_format": wanted(schema), "max_tokens": 4}
    plain = {**CHAT, "max_tokens": 8}
    alone = (await server.client.post("/v1/chat/completions", plain)).json["choices"]
    before, refused, after = await asyncio.gather(
        *(server.client.post("/v1/chat/completions", each) for each in (plain, endless, plain))
    )
    assert [before.json["choices"], after.json["choices"]] == [alone, alone]
    error = refused.json["error"]
    assert (refused.status, error["param"]) == (400, "response_format.json_schema")
    assert "recursion" in error["message"]


async def test_a_label_is_not_json(server: Running) -> None:
    body = {**CHAT, "model": "reviews", "response_format": {"type": "json_object"}}
    reply = await server.client.post("/v1/chat/completions", body)
    assert (reply.status, reply.json["error"]["param"]) == (400, "response_format")
    assert "label" in reply.json["error"]["message"]
    raw = await server.client.post(
        "/v1/chat/completions",
        {**body, "raw": True, "max_tokens": 60, "response_format": wanted(SCHEMA)},
    )
    assert json.loads(raw.json["choices"][0]["message"]["content"])


async def test_a_stop_text_would_cut_it_short(server: Running) -> None:
    body = {**CHAT, "response_format": {"type": "json_object"}, "stop": "\n"}
    reply = await server.client.post("/v1/chat/completions", body)
    assert (reply.status, reply.json["error"]["param"]) == (400, "stop")
    body = {**CHAT, "response_format": wanted(SCHEMA), "stop": []}
    assert (await server.client.post("/v1/chat/completions", body)).status == 200


async def test_a_schema_is_compiled_once_and_the_latest_are_kept() -> None:
    grammars = GrammarCompiler(tiny_tokenizer())
    first = await grammars.compile(SCHEMA)
    assert await grammars.compile(SCHEMA) is first
    assert grammars.compiled == 1
    for number in range(70):
        await grammars.compile({"enum": [number]})
    assert await grammars.compile(SCHEMA) is not first
    assert grammars.compiled == 72


async def test_answers_of_one_grammar_are_apart() -> None:
    grammar = await GrammarCompiler(tiny_tokenizer()).compile({"enum": ["warm", "wide"]})
    one, other = grammar.guide(), grammar.guide()
    for token in tiny_tokenizer()('"wa')["input_ids"]:
        one.accept(token)
    (quote,) = tiny_tokenizer()('"')["input_ids"]
    assert other.allowed(384)[quote] and not one.allowed(384)[quote]


async def test_what_is_too_large_or_too_deep_is_refused() -> None:
    grammars = GrammarCompiler(tiny_tokenizer())
    large = await refusal_of(grammars, {"enum": ["x" * MAX_CHARACTERS]})
    assert str(MAX_CHARACTERS) in large
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    assert "levels deep" in await refusal_of(grammars, deep)
    assert "surrogate" in await refusal_of(grammars, {"const": "\ud83d"})
    assert grammars.compiled == 0


async def test_the_layout_is_the_servers_own() -> None:
    """Free space between values is what small models go on with for ever."""
    grammar = await GrammarCompiler(tiny_tokenizer()).compile(
        {"type": "array", "x-guidance": {"whitespace_flexible": True, "lenient": True}}
    )
    guide = grammar.guide()
    for token in tiny_tokenizer()("[")["input_ids"]:
        guide.accept(token)
    (space,) = tiny_tokenizer()(" ")["input_ids"]
    assert not guide.allowed(384)[space]


async def test_a_tokenizer_without_single_characters_is_refused_clearly() -> None:
    """As T5's, which has no token for a brace."""
    core = tokenizers.Tokenizer(
        models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("\u2581", -1.0), ("\u2581good", -2.0)], 0)
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    with pytest.raises(GrammarError, match="tokenizer cannot be constrained") as caught:
        await GrammarCompiler(tokenizer).compile(SCHEMA)
    assert caught.value.code == "unsupported"
