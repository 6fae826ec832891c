"""Other packages' searchers beside ours, with a scripted model: budgets, numbers, the page."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.search import peers as search_peers
from benchmarks.search.peers import main
from benchmarks.search.peers_cells import BriefLLM
from benchmarks.search.peers_models import PEERS
from benchmarks.search.peers_tables import search_peers_table
from cuecard.errors import ConfigError
from cuecard.llms.protocol import LLM, LLMMessage, LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from support.scripted_search import chance

CALLS = 150
CONTESTANTS = ("as it was", "capo", "gepa-library", "gepa.optimize")
# What an instruction has to say for every answer to be right.
KEY = "carefully"


def rows() -> list[dict[str, str]]:
    return [{"input": f"Is {n} even?", "target": "No" if n % 2 else "Yes"} for n in range(60)]


def scripted() -> ScriptedLLM:
    """Right seven times in ten, and always when asked carefully; writes a few words when asked."""

    def answer(request: LLMRequest) -> str:
        text = "\n".join(each.content for each in request.messages)
        own = request.messages[-1].content.splitlines()
        if any(mark in text for mark in ("<prompt>", "```")):
            draw = random.Random(f"{text}{request.sample}")
            words = " ".join(draw.sample(["Answer", "it", "now", KEY], 3))
            return f"<prompt>{words}</prompt>" if "<prompt>" in text else f"```\n{words}\n```"
        asked = next(line for line in reversed(own) if line.rstrip().endswith("even?"))
        right = int(asked.rpartition("Is ")[2].split()[0]) % 2 == 0
        sure = KEY in text or chance(text) < 0.7
        return "Yes" if right == sure else "No"

    return ScriptedLLM(answer)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ScriptedLLM]:
    made: list[ScriptedLLM] = []

    @contextmanager
    def opened(model: str, runner: asyncio.Runner) -> Iterator[LLM]:
        made.append(scripted())
        yield made[-1]

    monkeypatch.setattr(search_peers, "opened", opened)
    return made


def options(home: Path, *contestants: str) -> list[str]:
    (home / "even.json").write_text(json.dumps({"examples": rows()}))
    return [
        *("--task", str(home / "even.json"), "--seeds", "13", "21", "--test-rows", "12"),
        *("--train-rows", "16", "--calls", str(CALLS), "--contestants", *contestants),
        *("--cells", str(home / "cells"), "--out", str(home / "peers.json")),
    ]


def run(home: Path, *contestants: str) -> dict[str, Any]:
    assert main(options(home, *contestants)) == 0
    found: dict[str, Any] = json.loads((home / "peers.json").read_text())
    return found


def test_each_has_the_same_rows_and_no_more_calls(asked: list[ScriptedLLM], tmp_path: Path) -> None:
    found = run(tmp_path, *CONTESTANTS)
    assert [row["contestant"] for row in found["rows"]] == list(CONTESTANTS)
    for cell in found["cells"]:
        assert cell["calls"] <= CALLS and len(cell["right"]) == 12
        assert cell["test"] == cell["right"].count("1") / 12
        assert (cell["calls"] > 20) == (cell["contestant"] != "as it was")
    best = max(found["rows"], key=lambda row: row["test"])
    assert best["test"] == 1.0
    assert any(KEY in each["text"] for each in found["cells"] if each["contestant"] != "as it was")
    # A second sitting runs what is missing: nothing.
    again = run(tmp_path, *CONTESTANTS)
    assert again["cells"] == found["cells"] and len(asked) == 1
    page = search_peers_table(found)
    assert all(f"| {name} |" in page for name in CONTESTANTS)
    assert "even: " in page and "2 seed(s)" in page


def test_ours_stand_beside_theirs(asked: list[ScriptedLLM], tmp_path: Path) -> None:
    found = run(tmp_path, "as it was", "gepa", "gepa.optimize")
    (pair,) = found["pairs"]
    tests = {row["contestant"]: row["test"] for row in found["rows"]}
    assert pair["minus_peer"] == pytest.approx(tests["gepa"] - tests["gepa.optimize"])
    assert "Ours beside theirs: gepa to gepa.optimize " in search_peers_table(found)


def test_promptolution_is_asked_for(asked: list[ScriptedLLM], tmp_path: Path) -> None:
    name = "promptolution CAPO"
    assert name in PEERS
    try:
        import promptolution  # noqa: F401, PLC0415
    except ImportError:
        with pytest.raises(ConfigError, match="promptolution is not installed"):
            main(options(tmp_path, name))
        return
    (row,) = run(tmp_path, name)["rows"]
    assert 20 < row["calls"] <= CALLS


def test_texts_are_refused(asked: list[ScriptedLLM], tmp_path: Path) -> None:
    given = options(tmp_path, "as it was")
    examples = [{"input": f"{n}", "target": f"{n * n}"} for n in range(60)]
    (tmp_path / "even.json").write_text(json.dumps({"examples": examples}))
    with pytest.raises(ConfigError, match="compared on labels"):
        main(given)


def test_a_brief_model_is_cut() -> None:
    llm = ScriptedLLM(lambda request: "x" * 1000)
    request = LLMRequest((LLMMessage("user", "Write."),), 500)
    found = asyncio.run(BriefLLM(llm, 8).complete(request))
    assert llm.requests[0].max_tokens == 8 and found.finish_reason == "length"
