"""`/v1/embeddings` in this process."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import cuecard
from cuecard.artifacts import Prompt
from cuecard.registry import Registry
from cuecard.serving.http.auth import add_key
from cuecard.serving.settings import Limits
from support.data.pairs import SPEC
from support.oracles.serial_engine import SerialEngine
from support.serving.app import MakePrompt, Running, running
from support.tiny import tiny_backbone

pytestmark = pytest.mark.anyio
TEXTS = ["a warm film", "awful, cold and poor", "nice"]
PATH = "/v1/embeddings"


def right(encoder: Any, registry: Registry, reference: str, texts: list[str] = TEXTS) -> Tensor:
    prompt = registry.read(reference).prompt
    slot = prompt.manifest.slot
    return cuecard.embed(encoder, prompt.spec, texts, prompt.injection(), slot=slot)


def given(reply: Any) -> Tensor:
    rows = reply.json["data"]
    assert [row["index"] for row in rows] == list(range(len(rows)))
    assert {row["object"] for row in rows} == {"embedding"}
    return torch.tensor([row["embedding"] for row in rows])


def same(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and bool((found - wanted).abs().max() <= 1e-5)


async def test_vectors_are_those_of_the_library(
    vectors: Running, encoder: Any, vectors_registry: Registry
) -> None:
    for asked, version in (
        ("near", "near@1"),
        ("near@production", "near@1"),
        ("near@2", "near@2"),
        ("near@latest", "near@2"),
        ("about", "about@1"),
    ):
        reply = await vectors.client.post(PATH, {"model": asked, "input": TEXTS})
        assert reply.status == 200, reply.body
        assert same(given(reply), right(encoder, vectors_registry, version))
        assert reply.json["model"] == version
        digest = vectors_registry.read(version).prompt.digest
        assert reply.json["system_fingerprint"] == digest
        assert [row["cut"] for row in reply.json["data"]] == [0, 0, 0]


async def test_without_a_prompt(vectors: Running, encoder: Any) -> None:
    name = encoder.name
    reply = await vectors.client.post(PATH, {"model": name, "input": TEXTS[0]})
    assert same(given(reply), cuecard.embed(encoder, SPEC, TEXTS[:1]))
    assert (reply.json["model"], reply.json["system_fingerprint"]) == (name, None)
    ids = encoder.tokenizer(TEXTS[0])["input_ids"]
    assert reply.json["usage"] == {"prompt_tokens": len(ids) - 1, "total_tokens": len(ids) - 1}


async def test_as_base64(vectors: Running) -> None:
    body = {"model": "near", "input": TEXTS, "dimensions": 32, "user": "ann"}
    plain = await vectors.client.post(PATH, {**body, "encoding_format": "float"})
    packed = await vectors.client.post(PATH, {**body, "encoding_format": "base64"})
    for one, other in zip(plain.json["data"], packed.json["data"], strict=True):
        numbers = np.frombuffer(base64.b64decode(other["embedding"]), "<f4")
        assert numbers.tolist() == one["embedding"]
    assert plain.json["usage"] == packed.json["usage"]


async def test_many_texts_keep_their_order(
    vectors: Running, encoder: Any, vectors_registry: Registry
) -> None:
    """So many that they are written in a thread, and with equal ones among them."""
    texts = [f"film {number % 200}" for number in range(256)]
    reply = await vectors.client.post(PATH, {"model": "near@2", "input": texts})
    assert same(given(reply), right(encoder, vectors_registry, "near@2", texts))


async def test_long_texts_are_cut_as_the_task_says(
    vectors: Running, encoder: Any, vectors_registry: Registry
) -> None:
    long = "fox " * 400
    reply = await vectors.client.post(PATH, {"model": "near", "input": [long, "fox"]})
    assert [bool(row["cut"]) for row in reply.json["data"]] == [True, False]
    assert same(given(reply), right(encoder, vectors_registry, "near@1", [long, "fox"]))


@pytest.mark.parametrize(
    ("sent", "code", "param"),
    [
        ({"input": "fox " * 400, "model": "about"}, "context_length_exceeded", None),
        (
            {"input": ["fox", "fox " * 400], "model": "encoder-bert"},
            "context_length_exceeded",
            None,
        ),
        ({"input": ""}, "empty_input", "input"),
        ({"input": ["x", ""]}, "empty_input", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": [1, 2]}, "invalid_value", "input"),
        ({"input": [[1, 2]]}, "invalid_value", "input"),
        ({"input": {"text": "x"}}, "invalid_value", "input"),
        ({"input": None}, "invalid_value", "input"),
        ({"dimensions": 31}, "invalid_value", "dimensions"),
        ({"dimensions": 0}, "invalid_value", "dimensions"),
        ({"encoding_format": "int8"}, "invalid_value", "encoding_format"),
        ({"truncate": True}, "invalid_value", "truncate"),
        ({"model": ["near"]}, "invalid_value", "model"),
    ],
)
async def test_what_cannot_be_answered(
    vectors: Running, sent: dict[str, Any], code: str, param: str | None
) -> None:
    steps = vectors.engine.steps
    reply = await vectors.client.post(PATH, {"model": "near", "input": "x", **sent})
    assert (reply.status, reply.code) == (400, code), reply.body
    found = reply.json["error"]["param"]
    assert found == param or str(found).startswith(f"{param}.")
    assert vectors.engine.steps == steps


async def test_token_ids_are_refused_by_name(vectors: Running) -> None:
    for ids in ([5, 6], [[5, 6], [7]], ["x", 5]):
        reply = await vectors.client.post(PATH, {"model": "near", "input": ids})
        assert reply.status == 400 and "token ids" in reply.json["error"]["message"]


@pytest.mark.parametrize("asked", ["nobody", "near@9", "near@staging", "near@", "@1"])
async def test_an_unknown_prompt_is_never_the_backbones_vector(
    vectors: Running, asked: str
) -> None:
    steps = vectors.engine.steps
    reply = await vectors.client.post(PATH, {"model": asked, "input": "x"})
    assert (reply.status, reply.code) == (404, "model_not_found")
    assert reply.json["error"]["param"] == "model" and vectors.engine.steps == steps


async def test_backbones_and_prompts_that_make_none(server: Running) -> None:
    steps = server.engine.steps
    for model in ("tiny-llama", "reviews", "titles@1"):
        reply = await server.client.post(PATH, {"model": model, "input": "x"})
        assert (reply.status, reply.code) == (400, "unsupported")
        assert "has no embeddings" in reply.json["error"]["message"]
    unknown = await server.client.post(PATH, {"model": "nobody", "input": "x"})
    assert (unknown.status, unknown.code) == (404, "model_not_found")
    assert server.engine.steps == steps


async def test_other_prompts_of_the_same_backbone(make_prompt: MakePrompt, tmp_path: Path) -> None:
    """A masked model with a head gives both; each prompt is for one of them."""
    bert = tiny_backbone("bert")
    cloze = cuecard.TaskSpec(
        kind="classification", template="{text} It was {mask}.", labels=("bad", "good")
    )
    registry = Registry(tmp_path / "both", who="ann@desk")
    registry.push(make_prompt(1, cloze, backbone=bert), "reviews")
    registry.push(make_prompt(2, SPEC, backbone=bert), "near")
    async with running(bert, registry, tmp_path / "cache") as server:
        reply = await server.client.post(PATH, {"model": "reviews", "input": "x"})
        assert (reply.status, reply.code) == (400, "unsupported")
        assert "for classification" in reply.json["error"]["message"]
        near = await server.client.post(PATH, {"model": "near", "input": TEXTS})
        assert same(given(near), right(bert, registry, "near@1"))


async def test_other_routes_refuse_it(vectors: Running) -> None:
    steps = vectors.engine.steps
    message = [{"role": "user", "content": "x"}]
    for path, body in (
        ("/v1/classify", {"input": "x"}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/completions", {"prompt": "x", "stream": True}),
        ("/v1/completions", {"prompt": "x", "raw": True}),
        ("/v1/chat/completions", {"messages": message}),
        ("/v1/chat/completions", {"messages": message, "raw": True, "stream": True}),
    ):
        reply = await vectors.client.post(path, {"model": "near", **body})
        assert (reply.status, reply.code) == (400, "unsupported"), reply.body
        assert "/v1/embeddings" in reply.json["error"]["message"]
    for path, body in (
        ("/v1/classify", {"input": "x"}),
        ("/v1/chat/completions", {"messages": message}),
    ):
        reply = await vectors.client.post(path, {"model": "encoder-bert", **body})
        assert reply.status == 400
    assert vectors.engine.steps == steps


async def test_bounds(encoder: Any, vectors_registry: Registry, tmp_path: Path) -> None:
    limits = Limits(max_texts=2, max_characters=20)
    async with running(encoder, vectors_registry, tmp_path / "cache", limits=limits) as server:
        many = await server.client.post(PATH, {"model": "near", "input": ["x"] * 3})
        assert (many.status, many.code) == (413, "batch_too_large")
        long = await server.client.post(PATH, {"model": "near", "input": ["x", "x" * 21]})
        assert (long.status, long.code) == (413, "input_too_long")
        two = await server.client.post(PATH, {"model": "near", "input": ["x", "x" * 20]})
        assert two.status == 200


async def test_keys_and_quotas(encoder: Any, vectors_registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret = add_key(file, "ann", prompts=["near@production"], tokens_per_day=8)
    async with running(encoder, vectors_registry, tmp_path / "cache", keys=file) as server:
        body = {"model": "near@production", "input": "a warm film"}
        assert (await server.client.post(PATH, body)).status == 401
        key = {"authorization": f"Bearer {secret}"}
        for model in ("near@2", "about", "encoder-bert", "nobody"):
            reply = await server.client.post(PATH, {**body, "model": model}, **key)
            assert (reply.status, reply.code) == (403, "model_not_allowed")
        for _ in range(8):
            reply = await server.client.post(PATH, body, **key)
            if reply.status != 200:
                break
        assert (reply.status, reply.code) == (429, "rate_limit_exceeded")


async def test_counts_and_the_description(vectors: Running) -> None:
    tokens = 0
    for _ in range(2):
        reply = await vectors.client.post(PATH, {"model": "near", "input": TEXTS})
        tokens += reply.json["usage"]["prompt_tokens"]
    text = (await vectors.client.get("/metrics")).body.decode()
    assert 'cuecard_requests_total{route="/v1/embeddings",status="200"} 2.0' in text
    assert f'cuecard_tokens_total{{kind="prompt",model="near@1"}} {float(tokens)}' in text
    (line, _) = vectors.lines("request")[:2]
    assert (line["route"], line["model"]) == (PATH, "near@1")
    described = (await vectors.client.get("/openapi.json")).json
    answers = described["paths"][PATH]["post"]["responses"]
    assert set(answers) == {"200", "4XX", "5XX"}
    assert answers["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/TextVectors")
    card = (await vectors.client.get("/v1/models/near")).json
    assert (card["kind"], card["labels"], card["fields"]) == ("embedding", [], ["text"])


class Off(SerialEngine):
    """Vectors that are almost right."""

    async def embed(self, rows: Any) -> list[Tensor]:
        return [vector + 5e-3 for vector in await super().embed(rows)]


async def test_a_prompt_that_gives_other_vectors_is_not_served(
    encoder: Any, vectors_registry: Registry, tmp_path: Path
) -> None:
    """Rounding of float32 is far less; that of bfloat16 is not."""
    engine = Off(encoder)
    async with running(encoder, vectors_registry, tmp_path / "cache", engine=engine) as server:
        reply = await server.client.post(PATH, {"model": "near", "input": "x"})
        assert (reply.status, reply.code) == (503, "model_not_ready")
        assert "does not answer as it did" in reply.json["error"]["message"]
        await server.sync.poll()
        assert engine.held == set()
    coarse = Off(encoder)
    coarse.dtype = torch.bfloat16
    async with running(encoder, vectors_registry, tmp_path / "other", engine=coarse) as server:
        assert (await server.client.post(PATH, {"model": "near", "input": "x"})).status == 200


async def test_more_coordinates_than_there_are(
    encoder: Any, vectors_registry: Registry, make_prompt: MakePrompt, tmp_path: Path
) -> None:
    """What a file says of itself is not believed."""
    folder = make_prompt(7, SPEC, backbone=encoder)
    prompt = Prompt.load(folder)
    (first, *others) = prompt.manifest.test_vectors
    expected = first.expected.model_copy(update={"coordinates": (0.1,) * 33})
    tests = (first.model_copy(update={"expected": expected}), *others)
    manifest = prompt.manifest.model_copy(update={"test_vectors": tests})
    changed = Prompt(prompt.tensors, manifest).save(tmp_path / "changed")
    vectors_registry.push(changed, "strange")
    async with running(encoder, vectors_registry, tmp_path / "cache") as server:
        reply = await server.client.post(PATH, {"model": "strange", "input": "x"})
        assert (reply.status, reply.code) == (503, "model_not_ready")
        assert "malformed" in reply.json["error"]["message"]
        assert (await server.client.post(PATH, {"model": "near", "input": "x"})).status == 200
