from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import JSONResponse, PlainTextResponse

import cuecard
from board.conftest import MakeClient
from cuecard.board.app import build_board
from cuecard.board.settings import BoardSettings
from cuecard.board.upstream import Upstream
from cuecard.errors import ConfigError, EngineError
from cuecard.registry import Registry
from cuecard.serving.http.auth import add_key
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Record
from support.browser import DESK, PHONE, faults, reach, tab
from support.data.reviews import SPEC, TEXT_SPEC
from support.random_prompts import random_prompt
from support.serving.app import running
from support.serving.in_thread import listening, listening_to
from support.tiny import tiny_backbone

PAIR = TaskSpec(
    kind="classification", template="A: {first}\nB: {second}\nSame:", labels=("no", "yes")
)
HOSTILE = "<script>alert(1)</script>\x1b"


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_backbone()


@pytest.fixture(scope="module")
def registry(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """reviews@1 and @2, titles@1, pairs@1."""
    made = Registry(tmp_path_factory.mktemp("play") / "prompts", who="ann@desk")
    for seed, (name, spec) in enumerate(
        (("reviews", SPEC), ("reviews", SPEC), ("titles", TEXT_SPEC), ("pairs", PAIR))
    ):
        folder = tmp_path_factory.mktemp("prompt") / name
        made.push(random_prompt(model, seed, spec).save(folder), name)
    made.promote("reviews@1", "production")  # others are loaded later
    return made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def server(model: Any, registry: Registry, tmp_path: Path) -> Iterator[str]:
    @asynccontextmanager
    async def made() -> AsyncIterator[Any]:
        async with running(model, registry, tmp_path / "cache") as parts:
            yield parts.client.app

    with listening_to(made) as url:
        yield url


def test_models_and_columns(client: MakeClient, tmp_path: Path, server: str, model: Any) -> None:
    board = client(tmp_path, server=server)
    found = board.get("/play?format=json").json()
    kinds = {one["id"]: one["kind"] for one in found["models"]}
    assert kinds["reviews@2"] == "classification" and kinds["titles"] == "text-to-text"
    assert kinds[model.name] is None and found["columns"] == []
    asked = {"model": ["reviews@1", "titles", model.name], "field.text": "a good film"}
    page = board.get("/play", params=asked)
    assert page.status_code == 200
    assert page.text.count('hx-get="/play/answer?') == 1
    assert page.text.count('data-stream="/play/stream?') == 2
    assert "curl" in page.text and ">a good film</textarea>" in page.text


def test_an_answer_is_the_librarys(
    client: MakeClient, tmp_path: Path, server: str, model: Any, registry: Registry
) -> None:
    board = client(tmp_path, server=server)
    for name in ("reviews@1", "reviews@2"):
        asked = {"model": name, "field.text": "a good film", "format": "json"}
        (told,) = board.get("/play/answer", params=asked).json()["answers"]
        prompt = registry.read(name).prompt
        right = cuecard.answer(model, prompt, [Record({"text": "a good film"}, None)])[0]
        assert told["label"] == right.answer and told["version"] == name
        assert dict(told["probabilities"]) == pytest.approx(dict(right.probabilities), abs=1e-4)
    page = board.get("/play/answer", params={"model": "reviews", "field.text": "x"}).text
    assert "positive" in page and "negative" in page and "ms" in page


def test_several_fields(client: MakeClient, tmp_path: Path, server: str) -> None:
    board = client(tmp_path, server=server)
    found = board.get("/play?model=pairs&model=reviews&format=json").json()
    assert found["fields"] == ["first", "second", "text"]
    asked = {"model": "pairs", "field.first": "a", "field.second": "b", "format": "json"}
    (told,) = board.get("/play/answer", params=asked).json()["answers"]
    assert told["label"] in ("no", "yes")


def test_texts_are_streamed(client: MakeClient, tmp_path: Path, server: str) -> None:
    board = client(tmp_path, server=server)
    found = board.get("/play/stream", params={"model": "titles", "field.text": "a good film"})
    assert found.headers["content-type"].startswith("text/event-stream")
    events = [line[6:] for line in found.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    told = [json.loads(event) for event in events[:-1]]
    assert any(event.get("usage") for event in told)
    refused = board.get("/play/stream", params={"model": "none", "field.text": "x"}).text
    assert refused.startswith("event: refused\ndata: ")


@pytest.mark.parametrize("path", ["/play/answer", "/play/stream"])
def test_other_sites_have_nothing_asked(
    path: str, client: MakeClient, tmp_path: Path, server: str
) -> None:
    board = client(tmp_path, server=server)
    answer = board.get(f"{path}?model=reviews", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


def test_what_is_refused(client: MakeClient, tmp_path: Path, server: str) -> None:
    board = client(tmp_path, server=server)
    page = board.get("/play", params={"model": HOSTILE, "field.text": HOSTILE})
    assert page.status_code == 400 and "no such model" in page.text
    assert "<script>alert" not in page.text and "\x1b" not in page.text
    answer = board.get("/play/answer", params={"model": HOSTILE, "field.text": HOSTILE}).text
    assert "<script>alert" not in answer and "\x1b" not in answer
    long = {"model": "reviews", "field.text": "x" * 20_001}
    assert board.get("/play", params=long).status_code == 400


def test_the_browsers_key_is_the_servers(
    client: MakeClient, tmp_path: Path, keys: Path, model: Any, registry: Registry
) -> None:
    secret = add_key(keys, "team")

    @asynccontextmanager
    async def made() -> AsyncIterator[Any]:
        async with running(model, registry, tmp_path / "cache", keys=keys) as parts:
            yield parts.client.app

    with listening_to(made) as url:
        assert "API key" in client(tmp_path, server=url).get("/play").text
        assert client(tmp_path, server=url, server_key=secret).get("/play").status_code == 200
        board = client(tmp_path, server=url, keys=keys)
        board.post("/login", data={"key": secret})
        assert board.get("/play").status_code == 200


def odd() -> FastAPI:
    """A server of another kind."""
    app = FastAPI()
    app.get("/v1/models")(lambda: JSONResponse({"data": [{"id": HOSTILE, "kind": HOSTILE}]}))
    app.post("/v1/classify")(lambda: JSONResponse({"data": [{"label": 1}]}))
    app.post("/v1/completions")(lambda: PlainTextResponse("no", 500))
    return app


def test_a_server_of_another_kind(client: MakeClient, tmp_path: Path) -> None:
    with listening(odd()) as url:
        board = client(tmp_path, server=url)
        page = board.get("/play", params={"model": HOSTILE, "field.text": "x"})
        assert page.status_code == 200 and "<script>alert" not in page.text
        answer = board.get("/play/answer?model=x&field.text=y").text
        assert "cannot be read" in answer
        assert "event: refused" in board.get("/play/stream?model=x&field.text=y").text
    gone = board.get("/play")
    assert gone.status_code == 400 and "does not answer" in gone.text


def test_no_server_no_playground(client: MakeClient, tmp_path: Path) -> None:
    board = client(tmp_path)
    assert board.get("/play").status_code == 404 and "/play" not in board.get("/").text


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://", "file:///etc/passwd"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match="not the address"):
        Upstream(url)


def test_an_address_with_a_path() -> None:
    with listening(odd()) as url:
        assert Upstream(f"{url}/v1/").models()[0]["id"] == HOSTILE
        with pytest.raises(EngineError):
            Upstream(f"{url}/other").models()


def test_asked_by_keyboard_alone(browser: Any, tmp_path: Path, server: str, model: Any) -> None:
    board = build_board(BoardSettings(tmp_path / "runs", "prompts", server=server))
    with listening(board.app) as url:
        for scheme, size in (("light", PHONE), ("dark", DESK)):
            with tab(browser, url, color_scheme=scheme, **size) as opened:
                page = opened.open("/play?model=reviews@1")
                reach(page, "field.text")
                page.keyboard.type("a good film")
                reach(page, "Ask")
                page.keyboard.press("Enter")
                page.locator("article [aria-busy] .share").first.wait_for()
                assert "field.text=a+good+film" in page.url
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
                assert faults(page) == []
