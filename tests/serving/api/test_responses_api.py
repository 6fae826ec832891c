"""`/v1/responses` for text: every shape, and every event of a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai.types.responses import Response
from openai.types.responses.response_stream_event import ResponseStreamEvent
from pydantic import TypeAdapter

from cuecard.engine.protocol import Finished, Generation, Token
from cuecard.errors import EngineError
from support.asgi import Reply
from support.serving.app import Running

pytestmark = pytest.mark.anyio
ROUTE = "/v1/responses"
BODY = {"model": "tiny-llama", "input": "a film so warm", "max_output_tokens": 6}
SCHEMA = {
    "type": "object",
    "properties": {"good": {"type": "boolean"}},
    "required": ["good"],
    "additionalProperties": False,
}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def said(reply: Reply) -> str:
    """The text, of an answer that openai's client can read."""
    assert reply.status == 200, reply.body
    return Response.model_validate(reply.json).output_text


def events_of(reply: Reply) -> list[Any]:
    """The events, each named after its type."""
    assert reply.status == 200, reply.body
    found = []
    for text in filter(None, reply.body.decode().split("\n\n")):
        name, data = text.split("\n")
        content = json.loads(data.removeprefix("data: "))
        assert name == f"event: {content['type']}"
        found.append(EVENT.validate_python(content))
    assert [event.sequence_number for event in found] == list(range(len(found)))
    return found


async def chat_text(server: Running, messages: list[dict[str, str]], **more: Any) -> str:
    body = {"model": "tiny-llama", "messages": messages, "max_tokens": 6, **more}
    reply = await server.client.post("/v1/chat/completions", body)
    found: str = reply.json["choices"][0]["message"]["content"]
    return found


async def test_a_string_is_the_users_message(server: Running) -> None:
    reply = await server.client.post(ROUTE, BODY)
    assert said(reply) == await chat_text(server, [{"role": "user", "content": BODY["input"]}])
    found = reply.json
    assert found["object"] == "response" and found["id"].startswith("resp_")
    assert found["status"] == "incomplete"
    assert found["incomplete_details"] == {"reason": "max_output_tokens"}
    (item,) = found["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "incomplete")
    assert found["usage"]["output_tokens"] == 6
    assert found["usage"]["total_tokens"] == found["usage"]["input_tokens"] + 6
    assert found["store"] is False


async def test_instructions_and_every_form_of_message(server: Running) -> None:
    first = await server.client.post(ROUTE, BODY)
    messages: list[Any] = [
        {"role": "user", "content": BODY["input"]},
        *first.json["output"],
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "so?"}]},
    ]
    body = {**BODY, "input": messages, "instructions": "be short", "temperature": 1.2}
    reply = await server.client.post(ROUTE, {**body, "temperature": 0})
    assert said(reply) == await chat_text(
        server,
        [
            {"role": "system", "content": "be short"},
            {"role": "user", "content": str(BODY["input"])},
            {"role": "assistant", "content": said(first)},
            {"role": "user", "content": "so?"},
        ],
    )
    assert reply.json["instructions"] == "be short"


async def test_a_prompts_task_answers(server: Running) -> None:
    reply = await server.client.post(ROUTE, {"model": "reviews", "input": "a good film"})
    assert said(reply) in ("negative", "positive")
    assert reply.json["status"] == "completed" and reply.json["model"].startswith("reviews@")
    pair = {"model": "pairs", "input": "", "fields": {"first": "x", "second": "y"}}
    assert said(await server.client.post(ROUTE, pair)) in ("no", "yes")
    refused = await server.client.post(
        ROUTE, {"model": "reviews", "input": "x", "text": {"format": {"type": "json_object"}}}
    )
    assert (refused.status, refused.json["error"]["param"]) == (400, "text.format")
    assert "response_format" not in refused.json["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_text_formats(server: Running, stream: bool) -> None:
    format_ = {"type": "json_schema", "name": "review", "schema": SCHEMA, "strict": True}
    body = {**BODY, "max_output_tokens": 40, "text": {"format": format_}, "stream": stream}
    reply = await server.client.post(ROUTE, body)
    found = events_of(reply)[-1].response if stream else Response.model_validate(reply.json)
    assert json.loads(found.output_text)["good"] in (True, False)
    assert found.status == "completed" and found.text.format.type == "json_schema"
    plain = {**BODY, "text": {"format": {"type": "text"}}}
    assert said(await server.client.post(ROUTE, plain)) == said(
        await server.client.post(ROUTE, BODY)
    )


async def test_a_schema_that_cannot_be_enforced_is_named_in_this_routes_words(
    server: Running,
) -> None:
    format_ = {"type": "json_schema", "name": "x", "schema": {"type": "colour"}}
    reply = await server.client.post(ROUTE, {**BODY, "text": {"format": format_}})
    error = reply.json["error"]
    assert (reply.status, error["param"]) == (400, "text.format.schema")
    assert "colour" in error["message"] and "response_format" not in error["message"]


async def test_a_stream_has_every_event_in_its_order(server: Running) -> None:
    whole = await server.client.post(ROUTE, BODY)
    events = events_of(await server.client.post(ROUTE, {**BODY, "stream": True}))
    kinds = [event.type.removeprefix("response.") for event in events]
    deltas = kinds.count("output_text.delta")
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * deltas,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "incomplete",
    ]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-4].text == events[-3].part.text == said(whole)
    assert events[0].response.status == "in_progress" and events[0].response.usage is None
    last = events[-1].response
    assert last.id == events[0].response.id and last.output_text == text
    assert last.usage.output_tokens == whole.json["usage"]["output_tokens"]
    ids = {event.item_id for event in events if hasattr(event, "item_id")}
    assert ids == {last.output[0].id}


async def test_log_probabilities_where_they_are_included(server: Running) -> None:
    body = {**BODY, "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    reply = await server.client.post(ROUTE, body)
    (item,) = reply.json["output"]
    logprobs = item["content"][0]["logprobs"]
    assert len(logprobs) == 6 and {len(each["top_logprobs"]) for each in logprobs} == {2}
    *_, done = [
        event
        for event in events_of(await server.client.post(ROUTE, {**body, "stream": True}))
        if event.type == "response.output_text.done"
    ]
    assert [each.logprob for each in done.logprobs] == [each["logprob"] for each in logprobs]
    refused = await server.client.post(ROUTE, {**BODY, "top_logprobs": 2})
    assert refused.status == 400
    assert 'include: ["message.output_text.logprobs"]' in refused.json["error"]["message"]


@pytest.mark.parametrize(
    ("more", "param", "says"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "no response is stored"),
        ({"conversation": {"id": "conv_1"}}, "conversation", "no response is stored"),
        ({"tools": [{"type": "web_search"}]}, "tools", "not supported"),
        ({"tool_choice": "required"}, "tool_choice", "not supported"),
        ({"background": True}, "background", "not supported"),
        ({"truncation": "auto"}, "truncation", "not supported"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort", "not supported"),
        ({"include": ["reasoning.encrypted_content"]}, "include.0", "at most"),
        ({"input": []}, "input", "1 to 1024 messages"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.type", "references"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input.0.content.0.type",
            "images",
        ),
        ({"max_output_tokens": 5000}, "max_output_tokens", "new tokens"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format", "schema"),
        ({"model": "reviews", "instructions": "short"}, "input", "--system-messages"),
        ({"model": "my-prompt_messages"}, "model", "'my-prompt_messages'"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"$ref": "#"}}}},
            "text.format.schema",
            "recursion",
        ),
    ],
)
async def test_what_is_not_offered_is_refused_clearly(
    server: Running, more: dict[str, Any], param: str, says: str
) -> None:
    reply = await server.client.post(ROUTE, {**BODY, **more})
    error = reply.json["error"]
    assert reply.status == (404 if param == "model" else 400) and error["param"] == param
    assert says in error["message"]


async def test_what_has_no_effect_is_accepted(server: Running) -> None:
    more = {
        "store": True,
        "metadata": {"run": "7"},
        "truncation": "disabled",
        "tools": [],
        "reasoning": {"effort": None, "summary": None},
        "previous_response_id": None,
        "background": False,
        "parallel_tool_calls": True,
        "include": [],
        "text": {"verbosity": "medium"},
    }
    reply = await server.client.post(ROUTE, {**BODY, **more})
    assert said(reply) == said(await server.client.post(ROUTE, BODY))
    assert reply.json["store"] is False


def failing(after: int) -> Any:
    async def generate(request: Generation) -> AsyncIterator[Token | Finished]:
        for _ in range(after):
            yield Token(70, -1.0)
        raise EngineError("out of memory")

    return generate


async def test_failures(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.engine, "generate", failing(0))
    for stream in (False, True):
        reply = await server.client.post(ROUTE, {**BODY, "stream": stream})
        assert (reply.status, reply.code) == (503, "engine_failed")
    monkeypatch.setattr(server.engine, "generate", failing(2))
    last = events_of(await server.client.post(ROUTE, {**BODY, "stream": True}))[-1]
    assert last.type == "response.failed" and last.response.error.code == "server_error"
