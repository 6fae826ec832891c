"""What version 0.1 left on disk still answers, scores, serves, rolls back and resumes.

`fixtures/` was written by `make_fixtures.py` with the code of that time; `expected.json` in it is
what that code answered.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cuecard import load_backbone
from cuecard.artifacts import SharedPrompt
from cuecard.registry import Registry
from cuecard.training import read_log
from support.command_line import Call
from support.serving.app import running

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())
TEXTS: list[str] = EXPECTED["texts"]
BACKBONE = ("--backbone", "backbone", "--dtype", "fp32")
KEPT = [folder for folder in EXPECTED["predictions"] if not folder.startswith("made/")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything, as the working directory: relative paths in recipes start there."""
    shutil.copytree(FIXTURES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers_as(wanted: list[dict[str, Any]], found: list[Any]) -> None:
    for before, now in zip(wanted, found, strict=True):
        assert now["answer"] == before["answer"]
        assert now["probabilities"] == pytest.approx(before["probabilities"], abs=1e-4)


def predicted(cuecard: Call, folder: object, *words: object) -> list[Any]:
    path = Path("texts.jsonl")
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    done = cuecard("predict", folder, "--file", path, *BACKBONE, *words, "--json")
    assert done.code == 0, done.err
    return list(done.json["predictions"])


@pytest.mark.parametrize("folder", KEPT)
def test_a_prompt_answers_and_scores_as_it_did(cuecard: Call, home: Path, folder: str) -> None:
    adapter = ("--adapter", f"{folder}/adapter") if (home / folder / "adapter").is_dir() else ()
    answers_as(EXPECTED["predictions"][folder], predicted(cuecard, folder, *adapter))
    score = EXPECTED["scores"][folder]
    done = cuecard("eval", folder, score["data"], *BACKBONE, *adapter, "--json")
    assert done.code == 0, done.err
    assert done.json["metric"] == score["metric"]
    assert done.json["metrics"][score["metric"]] == pytest.approx(score["value"], abs=1e-6)
    assert cuecard("inspect", folder, *BACKBONE[:2], *adapter).code == 0


def test_a_registry_is_whole_serves_and_rolls_back(cuecard: Call, home: Path) -> None:
    done = cuecard("verify", "--registry", "registry")
    assert done.code == 0, done.err
    registry = Registry(home / "registry")
    assert registry.names() == ["reviews", "titles"]
    assert registry.aliases("reviews") == {"production": 2}
    assert [event.why for event in registry.log("reviews", "production")] == [
        "version 1",
        "version 2",
    ]

    async def served() -> list[list[dict[str, Any]]]:
        """By `reviews@production` before and after a rollback, which the server notices."""
        model = load_backbone("backbone", dtype="fp32", device="cpu")
        found = []
        async with running(model, registry, home / "cache") as server:
            for move in (False, True):
                if move:
                    rolled = cuecard(
                        *("rollback", "reviews", "production", "--registry", "registry"),
                        *("--why", "version 1 was better"),
                    )
                    assert rolled.code == 0, rolled.err
                    await server.sync.poll()
                body = {"model": "reviews@production", "input": TEXTS}
                reply = await server.client.post("/v1/classify", body)
                assert reply.status == 200, reply.body
                found.append([{**row, "answer": row["label"]} for row in reply.json["data"]])
        return found

    second, first = asyncio.run(served())
    answers_as(EXPECTED["predictions"]["made/later"], second)
    answers_as(EXPECTED["predictions"]["runs/reviews"], first)
    assert registry.aliases("reviews") == {"production": 1}
    assert cuecard("verify", "--registry", "registry").code == 0
    pulled = cuecard("pull", "reviews@2", "pulled", "--registry", "registry")
    assert pulled.code == 0, pulled.err
    answers_as(EXPECTED["predictions"]["made/later"], predicted(cuecard, "pulled"))


def test_a_finished_run_is_read_and_not_trained_again(cuecard: Call, home: Path) -> None:
    before = (home / "runs/reviews/log.jsonl").read_bytes()
    done = cuecard("train", "--resume", "runs/reviews", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    report = json.loads((FIXTURES / "runs/reviews/report.json").read_text())
    assert result["digest"] == report["digest"]
    assert (home / "runs/reviews/log.jsonl").read_bytes().startswith(before)
    steps = [event["step"] for event in read_log(home / "runs/reviews") if event["event"] == "step"]
    assert steps == list(range(1, 13))


def test_a_run_resumes_from_its_checkpoint(cuecard: Call, home: Path) -> None:
    """It was cut at step 8 with a checkpoint after step 6; made/whole is the same run uncut."""
    done = cuecard("train", "--resume", "runs/cut", "--json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    trained = [event["step"] for event in events if event.get("event") == "step"]
    assert trained == list(range(7, 13))
    answers_as(EXPECTED["predictions"]["made/whole"], predicted(cuecard, "runs/cut"))


def test_a_sweep_and_an_adapters_run_are_read(cuecard: Call, home: Path) -> None:
    done = cuecard("sweep", "--resume", "runs/sweep")
    assert done.code == 0, done.err
    assert "2 of 2 trials" in done.out
    done = cuecard("lora", "--resume", "runs/lora", "--json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    assert not any(event.get("event") == "step" for event in events)


def test_a_shared_prompt_is_read(cuecard: Call, home: Path) -> None:
    backbone = load_backbone("backbone", dtype="fp32", device="cpu")
    assert SharedPrompt.load("prompts/shared", backbone).digest == EXPECTED["shared"]
    done = cuecard("nearest", "prompts/layers", "prompts", "runs", "--json")
    assert done.code == 0, done.err
