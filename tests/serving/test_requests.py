"""What clients send that cuecard does not have, or has no use for."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from pydantic import ValidationError

from cuecard.serving.invalid import invalid_request, model_of
from cuecard.serving.neutral import PARAMETERS
from cuecard.serving.refusals import Refusal
from cuecard.serving.requests import (
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    EmbeddingRequest,
    Message,
    Sent,
)
from cuecard.serving.responses_request import ResponsesRequest
from serving_app import Running

GOOD: dict[type[Sent], dict[str, Any]] = {
    CompletionRequest: {"model": "titles", "prompt": "x"},
    ChatRequest: {"model": "titles", "messages": [{"role": "user", "content": "x"}]},
    ClassifyRequest: {"model": "reviews", "input": "x"},
    EmbeddingRequest: {"model": "near", "input": "x"},
    ResponsesRequest: {"model": "titles", "input": "x"},
}
EXAMPLES: dict[type, tuple[Any, ...]] = {
    str: ("u-1", ""),
    dict: ({}, {"run": "7"}),
    list: ([],),
    bool: (True, False),
}
NEUTRAL = [
    (name, value)
    for name, values in PARAMETERS.items()
    for each in values
    for value in (EXAMPLES[each] if isinstance(each, type) else (each,))
]


def refusal(model: type[Sent], body: Any) -> Refusal:
    """Why a body is refused, as the server says it."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    return invalid_request(refused.value.errors(), body, model)


@pytest.mark.parametrize("model", GOOD)
def test_parameters_without_effect_are_accepted_by_every_route(model: type[Sent]) -> None:
    plain = model.model_validate(GOOD[model])
    for name, value in NEUTRAL:
        if name not in model.model_fields:
            assert model.model_validate({**GOOD[model], name: value}) == plain, name
    for name in [*PARAMETERS, *model.model_fields, "of_another_server"]:
        if name not in GOOD[model]:
            assert model.model_validate({**GOOD[model], name: None}) == plain, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("top_k", value) for value in (40, True, False, "0", [])],
        *[("best_of", value) for value in (2, True, "1")],
        *[("repetition_penalty", value) for value in (1.1, 0)],
        ("min_p", 0.05),
        ("echo", True),
        ("store", "yes"),
        ("metadata", "run 7"),
        ("service_tier", "flex"),
        ("logit_bias", {"5": -100}),
        ("modalities", ["text", "audio"]),
        ("tools", [{"type": "function", "function": {"name": "weather"}}]),
        ("functions", [{"name": "weather"}]),
        ("tool_choice", "required"),
        ("function_call", {"name": "weather"}),
        ("reasoning_effort", "high"),
    ],
)
@pytest.mark.parametrize("model", GOOD)
def test_other_values_are_refused_with_the_values_that_are_not(
    model: type[Sent], name: str, value: Any
) -> None:
    told = refusal(model, {**GOOD[model], name: value})
    assert (told.status, told.param) == (400, name)
    assert name in told.message and (
        "leave it out or send" in told.message or "must be" in told.message
    )


def test_messages_that_are_read_aloud() -> None:
    chat, more = GOOD[ChatRequest], [{"type": "image_url", "image_url": {"url": "data:,"}}]
    said = {
        refusal(ChatRequest, {**chat, **each}).message
        for each in (
            {"tools": [{}]},
            {"top_k": 5},
            {"store": 1},
            {"temprature": 1},
            {"temperature": "hot"},
            {"messages": [{"role": "user", "content": more}]},
            {"messages": [{"role": "tool", "content": "x"}]},
            {"messages": [{"role": "user", "content": None}]},
            {"messages": [*chat["messages"], {"role": "assistant", "tool_calls": [{"id": "c"}]}]},
            {"fields": {"text": 1}},
            {"stop": ["a", 1]},
            {"model": None},
            {"stream_options": {"include_usage": 1}},
        )
    }
    assert said == {
        "'tools' is not supported: leave it out or send [].",
        "'top_k' is not supported: leave it out or send -1 or 0.",
        "'store' must be true or false.",
        "Unknown parameter: 'temprature'.",
        "'temperature' must be a number from 0 to 2.",
        "'messages.0.content.0.type' must be \"text\": images, audio and files are not supported "
        "in messages.",
        '\'messages.0.role\' must be "system", "developer", "user" or "assistant"; tools are '
        "not supported.",
        "'messages.0.content' is required: a string or a list of text parts.",
        "'messages.1.tool_calls' is not supported: leave it out or send [].",
        "'fields.text' is invalid: 'fields' must be an object of strings: the template's fields by "
        "name.",
        "'stop.1' is invalid: 'stop' must be a string or a list of at most 4 strings, each of at "
        "most 200 characters.",
        "'model' is required: the name of a model: name, name@alias, name@3, or the backbone's own "
        "name.",
        "'stream_options.include_usage' must be true or false.",
    }


WRONG: tuple[Any, ...] = (
    True, -1, 7, 1e9, "", "\ud800", "x" * 300, [], [[]], [{}], [None], ["\ud800"], [1], [[1]],
    {}, {"x": 1}, {"\ud800": "x"}, {"str": []}, [{"type": "image_url"}], [{"role": "x"}],
    [{"role": "user", "content": [{"type": "text", "text": 1}]}],
    [{"role": "user", "content": {"a": [1]}}], ["x"] * 2000,
)  # fmt: skip
VALIDATOR = re.compile(
    r"function[- ]|lambda|constrained|list\[|dict\[|union|literal|Input should|pydantic|_whole"
    r"|object at|Extra inputs|Field required|0x[0-9a-f]|<"
)


@pytest.mark.parametrize("model", GOOD)
def test_nothing_of_the_validator_is_told(model: type[Sent]) -> None:
    told = 0
    for name, value in itertools.product([*PARAMETERS, *model.model_fields, "other"], WRONG):
        body = {**GOOD[model], name: value}
        try:
            model.model_validate(body)
        except ValidationError as error:
            found = invalid_request(error.errors(), body, model)
            assert not VALIDATOR.search(found.message), found.message
            assert str(found.param).split(".")[0] == name
            told += 1
    assert told > 100
    for body in (None, [], "x", 1):
        assert refusal(model, body).message == "The request body must be a JSON object."


def test_every_field_says_what_is_allowed() -> None:
    waiting: list[type[Sent]] = [*GOOD]
    for model in waiting:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            inner = model_of(field.annotation)
            if inner is not None and inner not in waiting:
                waiting.append(inner)
    assert Message in waiting


@pytest.mark.parametrize(
    "more",
    [
        {"refusal": None, "annotations": [], "audio": None, "function_call": None},
        {"refusal": None, "annotations": None, "tool_calls": [], "reasoning_content": None},
        {"tool_calls": None, "reasoning": "", "refusal": "", "name": "bot"},
        {"annotations": [{"type": "url_citation"}], "cache_control": {"type": "ephemeral"}},
    ],
)
def test_assistants_messages_as_servers_give_them(more: dict[str, Any]) -> None:
    sent = {"role": "assistant", "content": "fine", **more}
    assert Message.model_validate(sent).text == "fine"
    assert Message.model_validate({**sent, "content": None}).text == ""


def test_a_refusal_is_what_the_assistant_said() -> None:
    """Of another provider's model, in the same chat."""
    for more in (
        {"refusal": "I will not."},
        {"content": None, "refusal": "I will not."},
        {"content": "", "refusal": "I will not."},
        {"content": [{"type": "refusal", "refusal": "I will not."}]},
    ):
        assert Message.model_validate({"role": "assistant", **more}).text == "I will not."
    part = {"type": "refusal", "refusal": "I will not."}
    body = {"model": "m", "input": [{"role": "assistant", "content": [part]}]}
    assert ResponsesRequest.model_validate(body).chat.messages[0].text == "I will not."
    chat = {"model": "m", "messages": [{"role": "user", "content": "x", "refusal": "no"}]}
    assert refusal(ChatRequest, chat).param == "messages.0.refusal"


def test_what_switches_log_probabilities_off() -> None:
    for model in (CompletionRequest, ChatRequest):
        sent = model.model_validate({**GOOD[model], "logprobs": False})
        assert not sent.logprobs
    assert (
        CompletionRequest.model_validate({**GOOD[CompletionRequest], "logprobs": 0}).logprobs == 0
    )
    assert (
        refusal(CompletionRequest, {**GOOD[CompletionRequest], "logprobs": True}).param
        == "logprobs"
    )


def test_empty_stops_stop_nothing() -> None:
    for stop in ("", [], [""], None):
        sent = CompletionRequest.model_validate({**GOOD[CompletionRequest], "stop": stop})
        assert sent.stops == ()
    sent = CompletionRequest.model_validate({**GOOD[CompletionRequest], "stop": ["", "a", "b"]})
    assert sent.stops == ("a", "b")


@pytest.mark.anyio
async def test_an_answer_goes_back_into_the_chat(server: Running) -> None:
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    body = {"model": "tiny-llama", "messages": messages, "max_tokens": 4}
    for _ in range(2):
        reply = await server.client.post("/v1/chat/completions", body)
        assert reply.status == 200
        # As openai's client has it, with every field there is.
        answer = ChatCompletion.model_validate(reply.json)
        messages += [answer.choices[0].message.model_dump(), {"role": "user", "content": "so?"}]
    assert (await server.client.post("/v1/chat/completions", body)).status == 200


@pytest.mark.anyio
async def test_the_same_answer_with_all_that_has_no_effect(server: Running) -> None:
    for path, model in (
        ("/v1/completions", CompletionRequest),
        ("/v1/chat/completions", ChatRequest),
        ("/v1/classify", ClassifyRequest),
    ):
        plain = (await server.client.post(path, GOOD[model])).json
        more = {name: value for name, value in NEUTRAL if name not in model.model_fields}
        body = {**GOOD[model], **more, "logprobs": None, "n": None, "of_another_server": None}
        reply = await server.client.post(path, body)
        assert reply.status == 200, reply.body
        for key in ("choices", "data", "usage"):
            assert reply.json.get(key) == plain.get(key)


@pytest.mark.anyio
async def test_refusals_name_fields_over_http(server: Running) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    for path, more, param in (
        ("/v1/completions", {"model": "titles", "prompt": [1, 2]}, "prompt.0"),
        ("/v1/completions", {"model": "titles", "prompt": "x", "stop": [["a"]]}, "stop.0"),
        ("/v1/classify", {"model": "reviews", "input": [{"text": 3}]}, "input.0.text"),
        ("/v1/classify", {"model": ["reviews", ""], "input": "x"}, "model.1"),
        (
            "/v1/chat/completions",
            {"model": "titles", "messages": [{"role": "user", "content": [image]}]},
            "messages.0.content.0.type",
        ),
    ):
        reply = await server.client.post(path, more)
        error = reply.json["error"]
        assert (reply.status, error["param"]) == (400, param)
        assert not VALIDATOR.search(json.dumps(error))
