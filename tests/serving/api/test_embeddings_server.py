"""Vectors end to end: a server in a process of its own, and clients as people use them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from torch import Tensor

import cuecard
from cuecard.names import load_backbone
from cuecard.registry import Registry
from support.data.pairs import SPEC
from support.serving.app import MakePrompt
from support.serving.process import Process, serving
from support.tiny import tiny_encoder

pytestmark = pytest.mark.integration
TEXTS = ["a warm and funny film", "awful, cold and poor", "the quick brown fox", "nice"]
MODELS = ("near", "near@2", "about@production", "encoder")
DOCS = Path(__file__).parents[3] / "docs/serving.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder as its files are on the hub, without a head."""
    place = tmp_path_factory.mktemp("models") / "encoder"
    made = tiny_encoder()
    made.model.save_pretrained(place)
    made.tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Any:
    return load_backbone(folder, dtype="fp32")


@pytest.fixture(scope="module")
def place(backbone: Any, make_prompt: MakePrompt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    registry = Registry(tmp_path_factory.mktemp("registries") / "prompts", who="ann@desk")
    registry.push(make_prompt(1, SPEC, backbone=backbone), "near")
    registry.push(make_prompt(2, SPEC, backbone=backbone, slot="suffix"), "near")
    registry.promote("near@1", "production")
    about = SPEC.model_copy(update={"template": "about: {text}"})
    registry.push(make_prompt(3, about, backbone=backbone), "about")
    registry.promote("about@1", "production")
    return Path(registry.store.url)


@pytest.fixture(scope="module")
def server(
    place: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    with serving(place, folder, tmp_path_factory.mktemp("room")) as process:
        yield process


@pytest.fixture
def client(server: Process) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def right(backbone: Any, place: Path, model: str, texts: list[str] = TEXTS) -> Tensor:
    if model == "encoder":
        return cuecard.embed(backbone, SPEC, texts)
    prompt = Registry(place).read("near@1" if model == "near" else model).prompt
    slot = prompt.manifest.slot
    return cuecard.embed(backbone, prompt.spec, texts, prompt.injection(), slot=slot)


def off(found: Any, wanted: Tensor) -> float:
    vectors = torch.tensor([row.embedding for row in found.data])
    assert vectors.shape == wanted.shape
    return float((vectors - wanted).abs().max())


def test_openais_client(client: openai.OpenAI, backbone: Any, place: Path) -> None:
    """Which asks for base64 unless it is told otherwise."""
    for model in MODELS:
        wanted = right(backbone, place, model)
        found = client.embeddings.create(model=model, input=TEXTS)
        assert off(found, wanted) <= 1e-5
        floats = client.embeddings.create(model=model, input=TEXTS, encoding_format="float")
        assert off(floats, wanted) <= 1e-5
        assert found.usage == floats.usage and found.usage.prompt_tokens > len(TEXTS)
    assert client.embeddings.create(model="near", input="nice").model == "near@1"
    for missing in ("nobody", "near@9"):
        with pytest.raises(openai.NotFoundError) as unknown:
            client.embeddings.create(model=missing, input="x")
        assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="token ids"):
        client.embeddings.create(model="near", input=[1, 2, 3])
    with pytest.raises(openai.BadRequestError, match="32 dimensions"):
        client.embeddings.create(model="near", input="x", dimensions=16)
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
        client.completions.create(model="near", prompt="x")
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="encoder", prompt="x")


def test_many_clients_under_every_prompt(server: Process, backbone: Any, place: Path) -> None:
    wanted = {model: right(backbone, place, model) for model in MODELS}
    before = server.gauge("cuecard_engine_passes"), server.gauge("cuecard_engine_rows_embedded")

    def ask(number: int) -> float:
        model = MODELS[number % len(MODELS)]
        body = {"model": model, "input": TEXTS}
        status, answer = server.call("/v1/embeddings", body)
        assert status == 200, answer
        vectors = torch.tensor([row["embedding"] for row in answer["data"]])
        return float((vectors - wanted[model]).abs().max())

    with ThreadPoolExecutor(16) as pool:
        assert max(pool.map(ask, range(96))) <= 1e-5
    passes = server.gauge("cuecard_engine_passes") - before[0]
    rows = server.gauge("cuecard_engine_rows_embedded") - before[1]
    assert rows == 96 * len(TEXTS) and passes <= 96


def test_a_new_version_is_served_and_promoted(
    server: Process, client: openai.OpenAI, backbone: Any, place: Path, make_prompt: MakePrompt
) -> None:
    registry = Registry(place, who="ann@desk")
    registry.push(make_prompt(5, SPEC, backbone=backbone), "moves")
    registry.push(make_prompt(6, SPEC, backbone=backbone), "moves")
    for reference in ("moves@1", "moves@2", "moves@1"):
        registry.promote(reference, "production")
        while True:
            body = {"model": "moves@production", "input": TEXTS}
            status, answer = server.call("/v1/embeddings", body)
            if status == 200 and answer["model"] == reference:
                break
        found = client.embeddings.create(model="moves", input=TEXTS)
        assert off(found, right(backbone, place, reference)) <= 1e-5


def test_the_documentations_example(server: Process, backbone: Any, place: Path) -> None:
    """As it stands there, but for the port and the names."""
    part = DOCS.read_text().split("### `/v1/embeddings`", 1)[1]
    found = re.search(r"```sh\n(.*?)```", part, re.DOTALL)
    assert found is not None
    script = found.group(1)
    assert "localhost:8000" in script and '"faq@production"' in script
    script = script.replace("localhost:8000", server.url.removeprefix("http://"))
    script = script.replace("faq@production", "near@production")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    texts = json.loads(re.search(r"-d '(.*?)'", script, re.DOTALL)[1])["input"]  # type: ignore[index]
    vectors = torch.tensor([row["embedding"] for row in answer["data"]])
    assert float((vectors - right(backbone, place, "near", texts)).abs().max()) <= 1e-5


def test_schemathesis(server: Process, tmp_path: Path) -> None:
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run"]
    command += [f"{server.url}/openapi.json", "--include-path", "/v1/embeddings"]
    command += ["--checks", f"{checks},response_schema_conformance"]
    command += ["--max-examples", "100", "--seed", "1", "--generation-database", "none"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.events("failure") == []
