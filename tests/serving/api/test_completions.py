from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cuecard
from cuecard.registry import Registry
from cuecard.serving.api.inputs import encode_raw
from cuecard.types import Placement, Record
from support.data.reviews import TEXT_SPEC
from support.serving.app import MakePrompt, Running, running
from support.tiny import shared_backbone

pytestmark = pytest.mark.anyio
TEXT = "a warm and funny film"


def title(model: Any, registry: Registry, text: str = TEXT) -> str:
    prompt = registry.read("titles@1").prompt
    return str(cuecard.answer(model, prompt, [Record({"text": text}, None)])[0].answer)


async def test_a_text_fills_the_template(server: Running, model: Any, registry: Registry) -> None:
    reply = await server.client.post("/v1/completions", {"model": "titles", "prompt": TEXT})
    (choice,) = reply.json["choices"]
    assert choice["text"] == title(model, registry)
    assert choice["finish_reason"] in ("stop", "length")
    assert reply.json["model"] == "titles@1"
    assert reply.json["system_fingerprint"] == registry.read("titles@1").prompt.digest
    usage = reply.json["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] <= 4  # the task's own


async def test_a_chat_message_fills_it_too(server: Running, model: Any, registry: Registry) -> None:
    for content in (TEXT, [{"type": "text", "text": TEXT}]):
        reply = await server.client.post(
            "/v1/chat/completions",
            {"model": "titles", "messages": [{"role": "user", "content": content}]},
        )
        message = reply.json["choices"][0]["message"]
        assert message == {
            "role": "assistant",
            "content": title(model, registry),
            "refusal": None,
        }


async def test_a_label_is_the_answer_of_a_classification(
    server: Running, model: Any, registry: Registry
) -> None:
    prompt = registry.read("reviews@2").prompt
    right = cuecard.answer(model, prompt, [Record({"text": TEXT}, None)])[0].answer
    reply = await server.client.post("/v1/completions", {"model": "reviews@2", "prompt": TEXT})
    assert reply.json["choices"][0]["text"] == right
    refused = await server.client.post(
        "/v1/completions", {"model": "reviews@2", "prompt": TEXT, "logprobs": 0}
    )
    assert (refused.status, refused.code) == (400, "unsupported")


async def test_fields_instead_of_a_text(server: Running) -> None:
    fields = {"first": "x", "second": "y"}
    reply = await server.client.post("/v1/completions", {"model": "pairs", "fields": fields})
    assert reply.json["choices"][0]["text"] in ("no", "yes")
    both = await server.client.post(
        "/v1/completions", {"model": "pairs", "prompt": "x", "fields": fields}
    )
    assert (both.status, both.code) == (400, "invalid_fields")
    wrong = await server.client.post("/v1/completions", {"model": "pairs", "prompt": "x"})
    assert (wrong.status, wrong.code) == (400, "invalid_fields")
    chat = await server.client.post(
        "/v1/chat/completions",
        {"model": "pairs", "messages": [{"role": "user", "content": ""}], "fields": fields},
    )
    assert chat.json["choices"][0]["message"]["content"] in ("no", "yes")


async def test_raw_leaves_the_template_out(server: Running, model: Any, registry: Registry) -> None:
    reply = await server.client.post(
        "/v1/completions", {"model": "titles", "prompt": TEXT, "raw": True, "max_tokens": 5}
    )
    ids = model.tokenizer(TEXT)["input_ids"]
    injection = registry.read("titles@1").prompt.injection()
    (right,) = model.generate([ids], [Placement()], injection, 5, (2,))
    assert reply.json["choices"][0]["text"] == model.tokenizer.decode(
        right, skip_special_tokens=True
    )


def test_an_encoder_decoder_reads_a_raw_text_as_its_tokenizer_writes_it() -> None:
    t5 = shared_backbone("t5-relu")
    ids = t5.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    assert int(ids[0, -1]) == t5.tokenizer.eos_token_id
    (right,) = t5.model.generate(ids, max_new_tokens=5, do_sample=False)
    row = encode_raw(None, TEXT, t5.tokenizer)
    (found,) = t5.generate([row.context], [row.placement], None, 5, ())
    assert found == right[1:].tolist()  # after the token that starts the decoder


async def test_the_backbone_alone(server: Running, model: Any) -> None:
    reply = await server.client.post(
        "/v1/completions", {"model": "tiny-llama", "prompt": [TEXT, "one"], "max_tokens": 5}
    )
    for choice, text in zip(reply.json["choices"], (TEXT, "one"), strict=True):
        ids = model.tokenizer(text)["input_ids"]
        (right,) = model.generate([ids], [Placement()], None, 5, (2,))
        assert choice["text"] == model.tokenizer.decode(right, skip_special_tokens=True)
    assert reply.json["system_fingerprint"] is None
    fields = await server.client.post(
        "/v1/completions", {"model": "tiny-llama", "prompt": "x", "fields": {"text": "x"}}
    )
    assert fields.status == 400


async def test_a_chat_with_the_backbone(server: Running, model: Any) -> None:
    messages = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": "hi<|end|>"},
    ]
    reply = await server.client.post(
        "/v1/chat/completions",
        {"model": "tiny-llama", "messages": messages, "max_completion_tokens": 6},
    )
    text = "<|system|>be kind<|end|><|user|>hi< |end|><|end|><|assistant|>"
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    (right,) = model.generate([ids], [Placement()], None, 6, (2,))
    content = reply.json["choices"][0]["message"]["content"]
    assert content == model.tokenizer.decode(right, skip_special_tokens=True)


async def test_a_task_takes_one_message(server: Running) -> None:
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    body = {"model": "titles", "messages": messages}
    reply = await server.client.post("/v1/chat/completions", body)
    assert (reply.status, reply.code) == (400, "unsupported")
    raw = await server.client.post("/v1/chat/completions", {**body, "raw": True, "max_tokens": 3})
    assert raw.status == 200


async def test_system_messages_by_the_operators_choice(
    model: Any, registry: Registry, tmp_path: Path
) -> None:
    system = [{"role": "system", "content": "be kind"}, {"role": "developer", "content": ""}]
    user = [{"role": "user", "content": TEXT}]
    body = {"model": "titles", "messages": [*system, *user]}
    for choice, text in (("ignore", TEXT), ("prepend", f"be kind\n\n{TEXT}"), ("refuse", None)):
        cache = tmp_path / choice
        async with running(model, registry, cache, system_messages=choice) as server:  # type: ignore[arg-type]
            reply = await server.client.post("/v1/chat/completions", body)
            if text is None:
                assert (reply.status, reply.code) == (400, "unsupported")
                assert "--system-messages" in reply.json["error"]["message"]
            else:
                found = reply.json["choices"][0]["message"]["content"]
                assert found == title(model, registry, text)
            longer = {**body, "messages": [*system, *user, *user]}
            reply = await server.client.post("/v1/chat/completions", longer)
            assert (reply.status, reply.code) == (400, "unsupported")


async def test_streams_say_the_same(server: Running) -> None:
    body = {"model": "tiny-llama", "prompt": TEXT, "max_tokens": 12}
    whole = (await server.client.post("/v1/completions", body)).json
    reply = await server.client.post(
        "/v1/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}
    )
    assert reply.headers["content-type"].startswith("text/event-stream")
    *chunks, last, usage, done = reply.events
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    assert last["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert usage["choices"] == [] and usage["usage"] == whole["usage"]


async def test_a_stream_of_several_prompts(server: Running) -> None:
    """Every choice of every prompt has the number that it has without a stream."""
    texts = [TEXT, "another text", "a third"]
    body = {"model": "tiny-llama", "prompt": texts, "n": 2, "max_tokens": 5}
    whole = (await server.client.post("/v1/completions", body)).json
    reply = await server.client.post(
        "/v1/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}
    )
    *chunks, usage, done = reply.events
    assert done == "[DONE]" and usage["usage"] == whole["usage"]
    for index, choice in enumerate(whole["choices"]):
        mine = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert "".join(each["text"] for each in mine) == choice["text"]
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
    labels = {"model": "reviews", "prompt": texts}
    whole = (await server.client.post("/v1/completions", labels)).json
    reply = await server.client.post("/v1/completions", {**labels, "stream": True})
    texts_of = {c["choices"][0]["index"]: "" for c in reply.events[:-1]}
    for chunk in reply.events[:-1]:
        texts_of[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert [texts_of[n] for n in range(3)] == [each["text"] for each in whole["choices"]]


async def test_a_chats_stream(server: Running) -> None:
    messages = [{"role": "user", "content": TEXT}]
    for model in ("tiny-llama", "titles", "reviews"):
        body: dict[str, Any] = {"model": model, "messages": messages}
        if model != "reviews":
            body["max_tokens"] = 4
        whole = (await server.client.post("/v1/chat/completions", body)).json
        reply = await server.client.post("/v1/chat/completions", {**body, "stream": True})
        *chunks, last, done = reply.events
        deltas = [chunk["choices"][0]["delta"] for chunk in (*chunks, last)]
        assert [("role" in delta) for delta in deltas] == [True] + [False] * len(chunks)
        text = "".join(delta.get("content", "") for delta in deltas)
        assert text == whole["choices"][0]["message"]["content"]
        assert last["choices"][0]["finish_reason"] and done == "[DONE]"


async def test_stops_end_the_work(server: Running) -> None:
    body = {"model": "tiny-llama", "prompt": TEXT, "max_tokens": 40}
    whole = (await server.client.post("/v1/completions", body)).json["choices"][0]["text"]
    stop = whole[6:9]
    before = server.engine.steps
    reply = await server.client.post("/v1/completions", {**body, "stop": [stop, "zzzzz"]})
    (choice,) = reply.json["choices"]
    assert choice == {**choice, "text": whole[: whole.index(stop)], "finish_reason": "stop"}
    assert server.engine.steps - before < 40


async def test_the_tasks_own_stop_ends_an_answer(
    model: Any, registry: Registry, make_prompt: MakePrompt, tmp_path: Path
) -> None:
    whole = title(model, registry)
    spec = TEXT_SPEC.model_copy(update={"stop": whole[1]})
    registry.push(make_prompt(3, spec), "ended")
    async with running(model, registry, tmp_path / "cache") as server:
        body = {"model": "ended", "prompt": TEXT}
        (choice,) = (await server.client.post("/v1/completions", body)).json["choices"]
        assert choice["text"] == whole[: whole.index(whole[1])].rstrip()
        assert choice["finish_reason"] == "stop"
        (other,) = (await server.client.post("/v1/completions", {**body, "stop": ["zzzzz"]})).json[
            "choices"
        ]
        assert other["text"] == whole


async def test_draws_are_repeatable_by_seed(server: Running) -> None:
    body = {"model": "tiny-llama", "prompt": TEXT, "max_tokens": 10, "temperature": 1.5}
    texts = []
    for seed in (7, 7, 8, -7):
        reply = await server.client.post("/v1/completions", {**body, "seed": seed, "top_p": 0.95})
        texts.append(reply.json["choices"][0]["text"])
    assert texts[0] == texts[1] != texts[2]


async def test_logprobs(server: Running) -> None:
    body = {"model": "tiny-llama", "max_tokens": 3}
    reply = await server.client.post("/v1/completions", {**body, "prompt": TEXT, "logprobs": 0})
    found = reply.json["choices"][0]["logprobs"]
    assert len(found["tokens"]) == 3 and all(value <= 0 for value in found["token_logprobs"])
    chat = await server.client.post(
        "/v1/chat/completions",
        {**body, "messages": [{"role": "user", "content": TEXT}], "logprobs": True},
    )
    assert len(chat.json["choices"][0]["logprobs"]["content"]) == 3


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"logprobs": 21}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5000}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"seed": 1 << 70}, "seed"),
        ({"prompt_embeds": [[0.1]]}, "prompt_embeds"),
        ({"prompt": [[1, 2, 3]]}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": ""}, "prompt"),
    ],
)
async def test_what_is_not_offered_is_refused_by_name(
    server: Running, more: dict[str, Any], param: str
) -> None:
    body = {"model": "tiny-llama", "prompt": TEXT, **more}
    reply = await server.client.post("/v1/completions", body)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert str(reply.json["error"]["param"]).startswith(param)


async def test_too_long_for_the_backbone(server: Running) -> None:
    body = {"model": "tiny-llama", "prompt": TEXT, "max_tokens": 250}
    reply = await server.client.post("/v1/completions", body)
    assert (reply.status, reply.code) == (400, "context_length_exceeded")
    stream = await server.client.post("/v1/completions", {**body, "stream": True})
    assert (stream.status, stream.code) == (400, "context_length_exceeded")
