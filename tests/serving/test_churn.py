"""A server as it is started, 64 clients, and a registry that changes: no answer is another's.

`--requests 20000 -rP` asks for more, and tells what came of it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from cuecard.backbones import load_frozen
from cuecard.registry import Registry
from support.serving.cases import lasting_text
from support.serving.changing_registry import make_books
from support.serving.clients import EVERY, churned
from support.serving.engines import KINDS
from support.serving.llama import save_tiny_llama
from support.serving.process import Process, serving
from support.serving.prompts import make_pool

pytestmark = pytest.mark.integration
CLIENTS, PROMPTS, NAMES = 64, 48, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("llama") / "tiny")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Any:
    return load_frozen(folder, dtype="fp32")


@pytest.mark.timeout(3600)  # as many requests as are wanted
@pytest.mark.parametrize("engine", KINDS)
def test_no_answer_is_anothers(
    engine: str, backbone: Any, folder: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    KINDS[engine].needed()
    requests = int(pytestconfig.getoption("--requests"))
    pool = make_pool(backbone, tmp_path / "pool", PROMPTS)
    assert len(pool) > 40
    place = tmp_path / "prompts"
    books = make_books(Registry(place), pool, NAMES)
    words = ("--engine", engine, "--cache-bytes", str(1 << 28))
    with serving(place, folder, tmp_path / "room", *words) as server:
        _wait_until_loaded(server)
        tally = asyncio.run(
            churned(
                server.url,
                server.popen.pid,
                Registry(place),
                books,
                requests=requests,
                clients=CLIENTS,
            )
        )
        print(tally.report())  # noqa: T201 - for who asks with -rP
        assert tally.requests == requests
        assert tally.added + tally.removed + tally.moved == requests // EVERY
        assert min(tally.added, tally.removed, tally.moved, tally.cancelled) > 0
        assert (tally.crossed, tally.wrong, tally.stale, tally.errors) == (0, 0, 0, []), tally
        assert tally.answers > requests // 2
        assert server.gauge("cuecard_prompts_in_use") == 0
        assert server.gauge("cuecard_engine_failed") == 0
        assert server.gauge("cuecard_prompts_broken") == 0
        if engine == "local":  # vLLM's processes write lines of their own
            assert all(line.startswith("{") for line in server.log.read_text().splitlines())
        _ends_in_order(server, folder.name, lasting_text(backbone, 200))


def _wait_until_loaded(server: Process) -> None:
    """A server is ready before the versions are there that no alias leads to."""
    while True:
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=60) as reply:
            if not json.load(reply)["loading"]:
                return
        time.sleep(0.05)


def _ends_in_order(server: Process, bare: str, text: str) -> None:
    """SIGTERM lets an answer under way end, and leaves no process behind."""
    own = psutil.Process(server.popen.pid).children(recursive=True)
    body = {"model": bare, "prompt": text, "max_tokens": 200, "stream": True}
    with urllib.request.urlopen(server.request("/v1/completions", body), timeout=60) as reply:
        first = reply.readline()
        assert json.loads(first.removeprefix(b"data: "))["choices"][0]["finish_reason"] is None
        server.popen.send_signal(signal.SIGTERM)
        assert reply.read().endswith(b"data: [DONE]\n\n")
    assert server.popen.wait(60) == 0
    assert server.events("ended")[0]["open"] == 0
    assert psutil.wait_procs(own, timeout=60)[1] == []
