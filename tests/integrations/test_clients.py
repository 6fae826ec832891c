"""docs/clients.md: every block is run by the client's own library, against a server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import cuecard
from cuecard.registry import Registry
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Record
from support.command_line import save_tiny
from support.data.reviews import TEXT_SPEC
from support.data.tickets import TOPICS
from support.random_prompts import random_prompt
from support.serving.process import Process, serving

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
BLOCKS = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
SECTIONS = {name: re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL) for name, text in BLOCKS}
ADDRESS = "http://localhost:8000/v1"
SPECS = {
    "tickets": TaskSpec(
        kind="classification", template="Ticket: {text}\nTopic:", labels=tuple(TOPICS)
    ),
    "pairs": TaskSpec(
        kind="classification", template="A: {first}\nB: {second}\nSame:", labels=("no", "yes")
    ),
    "titles": TEXT_SPEC,
}
# What the clients and their libraries remark on.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.integration]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone and a registry with the page's prompts."""
    room = tmp_path_factory.mktemp("clients")
    backbone = cuecard.load_backbone(save_tiny(room / "tiny"), dtype="fp32")
    registry = Registry(str(room / "registry"), who="ann@desk")
    for seed, (name, spec) in enumerate(SPECS.items()):
        registry.push(random_prompt(backbone, seed, spec).save(room / name), name)
    registry.promote("tickets@1", "production")
    return room


@pytest.fixture(scope="module")
def server(room: Path) -> Iterator[Process]:
    with serving(room / "registry", room / "tiny", room / "server") as running:
        yield running


def run(section: str, server: Process) -> dict[str, Any]:
    """Run a section's Python; the names that it leaves."""
    names: dict[str, Any] = {}
    for language, text in SECTIONS[section]:
        if language == "python":
            assert ADDRESS in text or names
            exec(compile(text.replace(ADDRESS, f"{server.url}/v1"), section, "exec"), names)
    return names


def right(room: Path, name: str, *texts: str) -> list[str]:
    """What the library answers."""
    bound = cuecard.load(room / name, backbone=room / "tiny", dtype="fp32").bound
    fields = SPECS[name].field_names
    rows = [Record(dict.fromkeys(fields, text), None) for text in texts]
    return [one.answer for one in bound.predict(rows)]


def test_openai(room: Path, server: Process) -> None:
    pytest.importorskip("openai")
    names = run("openai", server)
    assert [names["label"]] == right(room, "tickets", "my card was declined")
    assert names["same"] in SPECS["pairs"].labels


def test_langchain(room: Path, server: Process) -> None:
    pytest.importorskip("langchain_openai", reason="`make test-clients` installs it")
    names = run("LangChain", server)
    texts = "my card was declined", "the app crashes", "where is the setting"
    assert [names["label"], *names["labels"]] == right(room, "tickets", *texts)
    assert names["title"] == right(room, "titles", "the app crashes on export")[0]


def test_llama_index(room: Path, server: Process) -> None:
    pytest.importorskip("llama_index.llms.openai_like", reason="`make test-clients` installs it")
    names = run("LlamaIndex", server)
    assert [names["label"]] == right(room, "tickets", "my card was declined")
    assert names["title"] == right(room, "titles", "the app crashes on export")[0]


def test_litellm(room: Path, server: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    # Prices of models are read from its own copy instead of from its repository.
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm", reason="`make test-clients` installs it")
    names = run("LiteLLM", server)
    assert [names["label"]] == right(room, "tickets", "my card was declined")
    (text,) = [text for language, text in SECTIONS["LiteLLM"] if language == "yaml"]
    config = yaml.safe_load(text.replace(ADDRESS, f"{server.url}/v1"))
    router = litellm.Router(model_list=config["model_list"])
    message = {"role": "user", "content": "the app crashes on export"}
    for model in ("tickets", "titles"):
        answer = router.completion(model=model, messages=[message])
        assert [answer.choices[0].message.content] == right(room, model, message["content"])


def test_every_client_is_tested() -> None:
    assert [*SECTIONS] == ["openai", "LangChain", "LlamaIndex", "LiteLLM"]
