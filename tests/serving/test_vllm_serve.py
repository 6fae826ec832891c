"""`cuecard serve --engine vllm` as a user starts it, and clients as people use them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from cuecard.backbones import load_frozen
from support.serving.cases import lasting_text
from support.serving.engines import KINDS
from support.serving.llama import save_tiny_llama
from support.serving.process import Process, refused, serving
from support.serving.registry import TEXT, right

pytestmark = pytest.mark.integration
WORDS = ("--engine", "vllm", "--cache-bytes", str(1 << 28))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    KINDS["vllm"].needed()
    return save_tiny_llama(tmp_path_factory.mktemp("llama") / "tiny")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Any:
    return load_frozen(folder, dtype="fp32")


@pytest.fixture(scope="module")
def server(
    place: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    with serving(place, folder, tmp_path_factory.mktemp("room"), *WORDS) as process:
        yield process


@pytest.fixture
def client(server: Process) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_curl_classifies_under_two_prompts(server: Process, backbone: Any, place: Path) -> None:
    body = json.dumps({"model": ["reviews", "reviews@2"], "input": TEXT})
    command = ["curl", "-sS", "--fail-with-body", f"{server.url}/v1/classify"]
    command += ["-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = json.loads(done.stdout)["data"]
    for row, reference in zip(rows, ("reviews@1", "reviews@2"), strict=True):
        assert row["version"] == reference
        wanted = right(backbone, place, reference).scores
        assert row["scores"] == pytest.approx(dict(wanted), abs=1e-4)


def test_openais_client(client: openai.OpenAI, backbone: Any, place: Path) -> None:
    ids = [model.id for model in client.models.list()]
    assert {"reviews@production", "reviews@2", "titles", "tiny"} <= {*ids}
    done = client.completions.create(model="titles", prompt=TEXT)
    assert done.choices[0].text == right(backbone, place, "titles@1").answer
    messages: Any = [{"role": "user", "content": TEXT}]
    chat = client.chat.completions.create(model="reviews@2", messages=messages)
    assert chat.choices[0].message.content == right(backbone, place, "reviews@2").answer
    assert chat.model == "reviews@2"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="nobody", prompt=TEXT)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="titles", prompt=TEXT, max_tokens=255)
    assert long.value.code == "context_length_exceeded"


def test_openais_client_streams(client: openai.OpenAI, server: Process, backbone: Any) -> None:
    messages: Any = [{"role": "user", "content": TEXT}]
    asked: dict[str, Any] = {"model": "tiny", "messages": messages, "max_tokens": 20}
    whole = client.chat.completions.create(**asked)
    *chunks, last = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert last.usage == whole.usage
    text, name = lasting_text(backbone, 200), "cuecard_engine_requests_cancelled"
    before = server.gauge(name)
    long = client.completions.create(model="tiny", prompt=text, max_tokens=200, stream=True)
    next(iter(long))
    long.close()
    while server.gauge("cuecard_open_requests"):
        pass
    assert server.gauge(name) == before + 1


def test_what_is_logged_is_ours(server: Process) -> None:
    """vLLM's own lines, if any, are warnings; ours are objects."""
    lines = server.log.read_text().splitlines()
    others = [line for line in lines if not line.startswith("{")]
    assert not [line for line in others if "INFO" in line or "Traceback" in line], others


def test_a_registry_that_is_not_there_is_found_before_vllm_starts(
    folder: Path, tmp_path: Path
) -> None:
    before = set(psutil.Process().children(recursive=True))
    said = refused(tmp_path / "nowhere", folder, tmp_path / "room", *WORDS)
    assert "no registry" in said
    assert set(psutil.Process().children(recursive=True)) <= before
