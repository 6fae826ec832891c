"""End to end: a server in a process of its own, and clients as people use them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from cuecard.errors import ConfigError, RegistryError
from cuecard.registry import Registry
from cuecard.serving.http.auth import add_key, revoke_key
from cuecard.serving.server import serve
from cuecard.serving.settings import ServerSettings, check_settings
from support.oracles.serial_engine import SerialEngine
from support.serving.app import MakePrompt
from support.serving.process import Process, environment, refused, serving, until
from support.serving.registry import TEXT, fill, right

pytestmark = pytest.mark.integration
LONG = {"model": "tiny", "prompt": TEXT, "max_tokens": 1500, "stream": True}
LONG_ANSWERS = ("--max-new-tokens", "1500")


@pytest.fixture(scope="module")
def server(
    place: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    with serving(place, folder, tmp_path_factory.mktemp("room"), *LONG_ANSWERS) as process:
        yield process


@pytest.fixture
def client(server: Process) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_openais_client(client: openai.OpenAI, server: Process, backbone: Any, place: Path) -> None:
    ids = [model.id for model in client.models.list()]
    assert "reviews@production" in ids and "tiny" in ids
    assert client.models.retrieve("titles").id == "titles"
    done = client.completions.create(model="titles", prompt=TEXT)
    assert done.choices[0].text == right(backbone, place, "titles@1").answer
    assert done.usage is not None and done.usage.prompt_tokens > 0
    chat = client.chat.completions.create(
        model="reviews@2", messages=[{"role": "user", "content": TEXT}]
    )
    assert chat.choices[0].message.content == right(backbone, place, "reviews@2").answer
    assert chat.model == "reviews@2"
    for missing in ("nobody", "reviews@9"):
        with pytest.raises(openai.NotFoundError) as unknown:
            client.completions.create(model=missing, prompt=TEXT)
        assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="titles", prompt=TEXT, best_of=2)
    with pytest.raises(openai.BadRequestError, match="no embeddings"):
        client.embeddings.create(model="tiny", input="x")


def test_openais_client_sends_back_what_it_got(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "system", "content": "be kind"}, {"role": "user", "content": TEXT}]
    asked: dict[str, Any] = {"model": "tiny", "messages": messages, "max_tokens": 5}
    for _ in range(2):
        answer = client.chat.completions.create(
            **asked,
            store=True,
            metadata={"run": "7"},
            user="ann",
            service_tier="auto",
            frequency_penalty=0,
            logit_bias={},
            tools=[],
            modalities=["text"],
            response_format={"type": "text"},
            extra_body={"top_k": -1, "min_p": 0, "repetition_penalty": 1.0, "functions": []},
        )
        messages.append(answer.choices[0].message)
        messages.append({"role": "user", "content": [{"type": "text", "text": "and then?"}]})
    assert client.chat.completions.create(**asked).choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="'tools' is not supported") as refused:
        client.chat.completions.create(
            **asked, tools=[{"type": "function", "function": {"name": "weather"}}]
        )
    assert refused.value.param == "tools"


def test_openais_client_streams(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": TEXT}]
    asked: dict[str, Any] = {"model": "tiny", "messages": messages, "max_tokens": 20}
    whole = client.chat.completions.create(**asked)
    stream = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 2
    assert last.usage == whole.usage
    stops = client.chat.completions.create(**asked, stop=text[3:5])
    assert stops.choices[0].finish_reason == "stop"


class Review(BaseModel):
    """What openai's client makes a schema of, and reads an answer into."""

    good: bool
    stars: Literal[1, 2, 3]


def test_openais_client_parses_answers(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": TEXT}]
    chat = client.chat.completions.parse(
        model="tiny", messages=messages, response_format=Review, max_tokens=60
    )
    assert isinstance(chat.choices[0].message.parsed, Review)
    # Back into the conversation as it is.
    messages += [chat.choices[0].message, {"role": "user", "content": "so?"}]
    asked: dict[str, Any] = {"model": "tiny", "response_format": Review, "max_tokens": 60}
    with warnings.catch_warnings():
        # The client's own, of the answer that it has parsed.
        warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
        again = client.chat.completions.parse(messages=messages, n=2, temperature=1, **asked)
    assert all(isinstance(choice.message.parsed, Review) for choice in again.choices)
    assert len(again.choices) == 2
    with client.chat.completions.stream(
        model="tiny", messages=messages[:1], response_format=Review, max_tokens=60
    ) as stream:
        stream.until_done()
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == chat.choices[0].message.parsed
    response = client.responses.parse(
        model="tiny", input=TEXT, text_format=Review, max_output_tokens=60
    )
    assert response.output_parsed == chat.choices[0].message.parsed
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model="tiny", messages=messages[:1], response_format=Review, max_tokens=2
        )


def test_openais_client_for_responses(client: openai.OpenAI, backbone: Any, place: Path) -> None:
    first = client.responses.create(model="tiny", input=TEXT, max_output_tokens=9, store=True)
    assert first.output_text and first.status == "incomplete"
    with client.responses.stream(model="tiny", input=TEXT, max_output_tokens=9) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
    assert text == first.output_text
    *_, last = client.responses.create(model="titles", input=TEXT, stream=True)
    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.output_text == right(backbone, place, "titles@1").answer
    said: Any = [{"role": "user", "content": TEXT}, *first.output, {"role": "user", "content": "?"}]
    more = client.responses.create(model="tiny", input=said, max_output_tokens=9)
    assert first.usage is not None and more.usage is not None
    assert more.usage.input_tokens > first.usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="no response is stored"):
        client.responses.create(model="tiny", input="so?", previous_response_id=first.id)
    tool: Any = {"type": "web_search"}
    with pytest.raises(openai.BadRequestError, match="tools"):
        client.responses.create(model="tiny", input="so?", tools=[tool])
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_openais_client_gets_the_likeliest_tokens(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": TEXT}],
        max_tokens=5,
        logprobs=True,
        top_logprobs=4,
    )
    logprobs = chat.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert [len(each.top_logprobs) for each in logprobs.content] == [4] * 5


def test_curl(server: Process, backbone: Any, place: Path) -> None:
    body = json.dumps({"model": ["reviews", "reviews@2"], "input": TEXT})
    command = ["curl", "-sS", "--fail-with-body", f"{server.url}/v1/classify"]
    command += ["-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = json.loads(done.stdout)["data"]
    for row, reference in zip(rows, ("reviews@1", "reviews@2"), strict=True):
        assert row["version"] == reference
        wanted = right(backbone, place, reference).probabilities
        assert row["probabilities"] == pytest.approx(dict(wanted), abs=1e-4)
    stream = json.dumps({"model": "titles", "prompt": TEXT, "stream": True})
    command = ["curl", "-sSN", f"{server.url}/v1/completions", "-d", stream]
    command += ["-H", "Content-Type: application/json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("data: [DONE]\n\n")


def test_llms_command_line(server: Process, backbone: Any, place: Path, tmp_path: Path) -> None:
    models = [
        {"model_id": name, "model_name": name, "api_base": f"{server.url}/v1"}
        for name in ("titles", "reviews@2", "nobody")
    ]
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(models))
    variables = environment(tmp_path) | {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}

    def llm(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("llm")), *words, TEXT]
        return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=120)

    streamed = llm("-m", "titles")
    assert streamed.stdout.strip() == right(backbone, place, "titles@1").answer, streamed.stderr
    whole = llm("-m", "reviews@2", "--no-stream")
    assert whole.stdout.strip() == right(backbone, place, "reviews@2").answer, whole.stderr
    missing = llm("-m", "nobody")
    assert missing.returncode == 1 and "does not exist" in missing.stderr


def test_a_client_that_hangs_up_ends_the_work(server: Process) -> None:
    before = len(server.events("request"))
    reply = urllib.request.urlopen(server.request("/v1/completions", LONG), timeout=60)
    assert reply.readline().startswith(b"data: ")
    assert server.gauge("cuecard_open_requests") == 1
    reply.close()
    until(lambda: server.gauge("cuecard_open_requests") == 0)
    (line,) = [
        line for line in server.events("request")[before:] if line["route"] == "/v1/completions"
    ]
    assert line["status"] == 499
    assert line["completion_tokens"] < 1500


def test_sigterm_lets_what_runs_end(place: Path, folder: Path, tmp_path: Path) -> None:
    with serving(place, folder, tmp_path / "room", *LONG_ANSWERS) as server:
        with urllib.request.urlopen(server.request("/v1/completions", LONG), timeout=60) as reply:
            assert reply.readline().startswith(b"data: ")
            server.popen.send_signal(signal.SIGTERM)
            body = {"model": "reviews", "input": TEXT}
            seen: list[tuple[int, Any]] = []
            until(lambda: seen.append(server.call("/v1/classify", body)) or seen[-1][0] == 503)
            assert seen[-1][1]["error"]["code"] == "shutting_down"
            assert server.call("/readyz")[0] == 503
            assert reply.read().endswith(b"data: [DONE]\n\n")
        assert server.popen.wait(60) == 0
        assert server.events("ended") == [{**server.events("ended")[0], "open": 0}]


def test_a_second_signal_waits_no_more(place: Path, folder: Path, tmp_path: Path) -> None:
    with serving(place, folder, tmp_path / "room", *LONG_ANSWERS) as server:
        reply = urllib.request.urlopen(server.request("/v1/completions", LONG), timeout=60)
        assert reply.readline().startswith(b"data: ")
        server.popen.send_signal(signal.SIGINT)
        until(lambda: server.call("/readyz")[0] == 503)
        server.popen.send_signal(signal.SIGINT)
        assert server.popen.wait(60) == 0
        reply.close()


def test_an_alias_moves_while_calling(
    backbone: Any, make_prompt: MakePrompt, folder: Path, tmp_path: Path
) -> None:
    place = fill(tmp_path / "prompts", backbone, make_prompt)
    registry = Registry(place)
    scores = {
        reference: dict(right(backbone, place, reference).scores)
        for reference in ("reviews@1", "reviews@2")
    }
    assert scores["reviews@1"] != pytest.approx(scores["reviews@2"], abs=1e-2)
    found: list[tuple[int, Any]] = []
    ended = threading.Event()
    with serving(place, folder, tmp_path / "room") as server:

        def calling() -> None:
            while not ended.is_set():
                found.append(server.call("/v1/classify", {"model": "reviews", "input": TEXT}))

        callers = [threading.Thread(target=calling) for _ in range(4)]
        for caller in callers:
            caller.start()
        try:

            def answers() -> str:
                _, reply = server.call("/v1/classify", {"model": "reviews", "input": TEXT})
                return str(reply["data"][0]["version"])

            for _ in range(3):
                registry.promote("reviews@2", "production")
                until(lambda: answers() == "reviews@2")
                registry.rollback("reviews", "production", why="test")
                until(lambda: answers() == "reviews@1")
        finally:
            ended.set()
            for caller in callers:
                caller.join()
    assert {status for status, _ in found} == {200}
    rows = [reply["data"][0] for _, reply in found]
    assert {row["version"] for row in rows} == set(scores)
    for row in rows:
        assert row["scores"] == pytest.approx(scores[row["version"]], abs=1e-4)


def test_a_registry_that_is_removed(
    backbone: Any, make_prompt: MakePrompt, folder: Path, tmp_path: Path
) -> None:
    place = fill(tmp_path / "prompts", backbone, make_prompt)
    body = {"model": "reviews", "input": TEXT}
    with serving(place, folder, tmp_path / "room") as server:
        _, before = server.call("/v1/classify", body)
        shutil.rmtree(place)
        until(lambda: server.gauge("cuecard_registry_reachable") == 0)
        assert server.call("/v1/classify", body) == (200, before)
        status, ready = server.call("/readyz")
        assert status == 200 and ready["registry"]["reachable"] is False
    with serving(place, folder, tmp_path / "room") as server:
        assert server.call("/v1/classify", body) == (200, before)


def test_keys_limits_and_quotas(place: Path, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, "ann", requests_per_minute=10_000)
    poor = add_key(file, "poor", tokens_per_day=1)
    body = {"model": "reviews", "input": TEXT}
    words = ("--keys", str(file), "--host", "0.0.0.0", "--max-body-bytes", "2000")
    with serving(place, folder, tmp_path / "room", *words, key=key) as server:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        assert server.call("/v1/classify", body)[0] == 200
        assert server.call("/v1/classify", body, Authorization="Bearer no")[0] == 401
        fresh = add_key(file, "ann-2")
        assert server.call("/v1/classify", body, Authorization=f"Bearer {fresh}")[0] == 200
        revoke_key(file, "ann")
        assert server.call("/v1/classify", body)[0] == 401
        server.key = fresh
        status, reply = server.call("/v1/classify", {**body, "input": "x" * 3000})
        assert (status, reply["error"]["code"]) == (413, "request_too_large")
        server.key = poor
        assert [server.call("/v1/classify", body)[0] for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_others_need_keys(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="public address without API keys"):
        check_settings(ServerSettings(host=host))
    check_settings(ServerSettings(host=host, keys=tmp_path / "keys.json"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    check_settings(ServerSettings(host=host))


def test_what_does_not_start(backbone: Any, place: Path, folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(place, folder, tmp_path, "--port", str(port))
        assert "cannot listen on this address" in said and str(port) in said
    settings = ServerSettings(port=0, keys=tmp_path / "none.json", cache=tmp_path)
    engine, started = SerialEngine(backbone), []
    with pytest.raises(ConfigError, match="cannot read"):
        asyncio.run(serve(engine, "tiny", Registry(place), settings, started.append))
    settings, nowhere = ServerSettings(port=0, cache=tmp_path), Registry(tmp_path / "nowhere")
    with pytest.raises(RegistryError, match="no registry"):
        asyncio.run(serve(engine, "tiny", nowhere, settings, started.append))
    assert started == []


def test_schemathesis(server: Process, tmp_path: Path) -> None:
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run"]
    command += [f"{server.url}/openapi.json", "--checks", f"{checks},response_schema_conformance"]
    command += ["--max-examples", "25", "--seed", "1", "--generation-database", "none"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: server.gauge("cuecard_open_requests") == 0)
    assert server.gauge("cuecard_prompts_in_use") == 0
    assert server.events("failure") == []
