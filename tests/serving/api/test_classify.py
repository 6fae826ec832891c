from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import cuecard
from cuecard.registry import Registry
from cuecard.tasks import TaskSpec
from cuecard.types import Head, Record
from support.data.head_tasks import HEAD_SPEC, NUMBER, SEVERAL
from support.serving.app import MakePrompt, Running, running

pytestmark = pytest.mark.anyio
TEXTS = ["a warm film", "awful, cold and poor", "nice"]


def expected(model: Any, registry: Registry, reference: str, records: list[Record]) -> list[Any]:
    return list(cuecard.answer(model, registry.read(reference).prompt, records))


def records(texts: list[str]) -> list[Record]:
    return [Record({"text": text}, None) for text in texts]


async def test_answers_are_those_of_the_library(
    server: Running, model: Any, registry: Registry
) -> None:
    for reference in ("reviews@1", "reviews@2"):
        reply = await server.client.post("/v1/classify", {"model": reference, "input": TEXTS})
        assert reply.status == 200
        wanted = expected(model, registry, reference, records(TEXTS))
        for row, right in zip(reply.json["data"], wanted, strict=True):
            assert row["label"] == right.answer
            assert row["probabilities"] == pytest.approx(dict(right.probabilities), abs=1e-5)
            assert row["scores"] == pytest.approx(dict(right.scores), abs=1e-4)
            assert row["version"] == reference and row["cut"] == 0
            assert sum(row["probabilities"].values()) == pytest.approx(1.0)


async def test_several_prompts_on_each_input(
    server: Running, model: Any, registry: Registry
) -> None:
    asked = ["reviews@1", "reviews@2", "reviews"]
    reply = await server.client.post("/v1/classify", {"model": asked, "input": TEXTS})
    rows = reply.json["data"]
    assert [(row["index"], row["model"]) for row in rows] == [
        (place, name) for place in range(3) for name in asked
    ]
    assert {row["version"] for row in rows if row["model"] == "reviews"} == {"reviews@1"}
    for number, reference in enumerate(("reviews@1", "reviews@2")):
        wanted = expected(model, registry, reference, records(TEXTS))
        found = [row["scores"] for row in rows[number::3]]
        assert found == [pytest.approx(dict(right.scores), abs=1e-4) for right in wanted]
    assert reply.json["usage"]["prompt_tokens"] == reply.json["usage"]["total_tokens"] > 0
    counted = (await server.client.get("/metrics")).body.decode()
    assert 'cuecard_tokens_total{kind="prompt",model="several"}' in counted


async def test_fields_by_name(server: Running, model: Any, registry: Registry) -> None:
    fields = {"first": "it is good", "second": "it is bad"}
    reply = await server.client.post("/v1/classify", {"model": "pairs", "input": fields})
    (right,) = expected(model, registry, "pairs@1", [Record(fields, None)])
    assert reply.json["data"][0]["probabilities"] == pytest.approx(
        dict(right.probabilities), abs=1e-5
    )
    both = await server.client.post("/v1/classify", {"model": "pairs", "input": [fields, fields]})
    assert len(both.json["data"]) == 2


@pytest.mark.parametrize(
    ("asked", "given", "code"),
    [
        ("pairs", "one text", "invalid_fields"),
        ("pairs", {"first": "x"}, "invalid_fields"),
        ("pairs", {"first": "x", "second": "y", "third": "z"}, "invalid_fields"),
        ("reviews", {"txt": "x"}, "invalid_fields"),
        ("titles", "x", "unsupported"),
        ("tiny-llama", "x", "unsupported"),
        ("reviews", [], "invalid_value"),
        ("reviews", [3], "invalid_value"),
        ("reviews", None, "invalid_value"),
        ([], "x", "invalid_value"),
    ],
)
async def test_what_cannot_be_classified(
    server: Running, asked: Any, given: Any, code: str
) -> None:
    reply = await server.client.post("/v1/classify", {"model": asked, "input": given})
    assert (reply.status, reply.code) == (400, code)


async def test_long_inputs_are_cut_and_told(server: Running) -> None:
    long = "word " * 3000
    reply = await server.client.post("/v1/classify", {"model": "reviews", "input": long})
    # The task's 512 tokens are more than the tiny backbone has places.
    assert (reply.status, reply.code) == (400, "context_length_exceeded")


async def test_bounds(server: Running) -> None:
    many = await server.client.post(
        "/v1/classify", {"model": ["reviews", "reviews@2"], "input": ["x"] * 200}
    )
    assert (many.status, many.code) == (413, "batch_too_large")
    long = await server.client.post(
        "/v1/classify", {"model": "reviews", "input": "x" * ((1 << 17) + 1)}
    )
    assert (long.status, long.code) == (413, "input_too_long")


async def test_a_head_answers_for_its_labels(
    model: Any, server: Running, registry: Registry, make_prompt: MakePrompt
) -> None:
    generator = torch.Generator().manual_seed(0)
    head = Head(torch.randn(2, 32, generator=generator), torch.zeros(2))
    registry.push(make_prompt(5, HEAD_SPEC, head=head), "headed")
    await server.sync.poll()
    reply = await server.client.post("/v1/classify", {"model": "headed@1", "input": TEXTS})
    assert reply.status == 200, reply.json
    wanted = expected(model, registry, "headed@1", records(TEXTS))
    for row, right in zip(reply.json["data"], wanted, strict=True):
        assert row["label"] == right.answer
        assert row["probabilities"] == pytest.approx(dict(right.probabilities), abs=1e-4)
        assert row["scores"] == pytest.approx(dict(right.scores), abs=1e-3)
    both = {"model": ["headed@1", "reviews"], "input": TEXTS[0]}
    assert len((await server.client.post("/v1/classify", both)).json["data"]) == 2
    text = await server.client.post("/v1/completions", {"model": "headed@1", "prompt": TEXTS[0]})
    assert text.json["choices"][0]["text"] == reply.json["data"][0]["label"]


async def test_other_heads_are_refused(
    server: Running, registry: Registry, make_prompt: MakePrompt
) -> None:
    registry.push(make_prompt(5, NUMBER, head=Head(torch.zeros(1, 32), torch.zeros(1))), "number")
    registry.push(make_prompt(5, SEVERAL, head=Head(torch.zeros(3, 32), torch.zeros(3))), "several")
    await server.sync.poll()
    asked = (
        ("/v1/classify", {"model": "number", "input": "a film"}),
        ("/v1/completions", {"model": "number", "prompt": "a film"}),
        ("/v1/completions", {"model": "several", "prompt": "a film"}),
    )
    for path, body in asked:
        reply = await server.client.post(path, body)
        assert (reply.status, reply.code) == (400, "unsupported")
        assert "trained head" in reply.json["error"]["message"]


async def test_any_number_of_labels_may_hold(
    model: Any, server: Running, registry: Registry, make_prompt: MakePrompt
) -> None:
    head = Head(torch.randn(3, 32, generator=torch.Generator().manual_seed(0)), torch.zeros(3))
    prior = {"dog": 0.5, "fox": 0.0, "fun": -0.5}
    registry.push(make_prompt(6, SEVERAL, head=head, prior=prior), "tags")
    await server.sync.poll()
    reply = await server.client.post("/v1/classify", {"model": "tags@1", "input": TEXTS})
    assert reply.status == 200, reply.json
    wanted = expected(model, registry, "tags@1", records(TEXTS))
    for row, right in zip(reply.json["data"], wanted, strict=True):
        assert row["label"] == right.answer == ",".join(row["labels"])
        assert row["probabilities"] == pytest.approx(dict(right.probabilities), abs=1e-4)
        assert row["labels"] == [x for x, p in row["probabilities"].items() if p > 0.5]


async def test_a_label_that_begins_another_is_scored_as_by_the_library(
    model: Any, registry: Registry, make_prompt: MakePrompt, tmp_path: Path
) -> None:
    spec = TaskSpec(
        kind="classification", template="{text} :", labels=("good", "good for one", "bad")
    )
    registry.push(make_prompt(3, spec), "nested")
    assert registry.read("nested@1").prompt.manifest.task["prefix_labels"] == "exclusive"
    async with running(model, registry, tmp_path / "cache") as server:
        reply = await server.client.post("/v1/classify", {"model": "nested@1", "input": TEXTS})
    wanted = expected(model, registry, "nested@1", records(TEXTS))
    plain = cuecard.predict(
        model,
        spec.model_copy(update={"prefix_labels": "inclusive"}),
        records(TEXTS),
        registry.read("nested@1").prompt.injection(),
    )
    for row, right, sums in zip(reply.json["data"], wanted, plain, strict=True):
        assert row["scores"] == pytest.approx(dict(right.scores), abs=1e-4)
        assert row["scores"]["good"] < sums.scores["good"]
