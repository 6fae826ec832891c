"""`cuecard graphrag measure` as a user types it, before a scripted endpoint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cuecard.llms.protocol import LLMRequest
from support.command_line import Call
from support.extraction_texts import extracted, save_corpus, save_gold
from support.http_llm import http_llm

CAREFUL = "Be careful. Types: {entity_types}. (<|>)\n{input_text}"


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return save_gold(tmp_path / "gold.jsonl", 12)


@pytest.fixture
def careful(tmp_path: Path) -> Path:
    path = tmp_path / "careful.txt"
    path.write_text(CAREFUL)
    return path


def words(gold: Path, prompt: Path, url: str, *more: object) -> list[object]:
    llm = ("--llm", "m", "--llm-url", url, "--llm-price", "1,2")
    return ["graphrag", "measure", "--gold", gold, "--prompt", prompt, *llm, *more]


def test_two_prompts_on_gold(cuecard: Call, gold: Path, careful: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with http_llm(extracted) as llm:
        asked = words(gold, careful, llm.url, "--out", out)
        dry = cuecard(*asked, "--dry-run", "--json")
        assert dry.code == 0 and llm.asked == [] and not out.exists()
        done = cuecard(*asked, "--output", tmp_path / "report.json")
        assert done.code == 0, done.err
        assert len(llm.asked) == 24
        row = next(x for x in done.out.splitlines() if x.startswith("entities f1, strict"))
        numbers = re.findall(r"[+-]?\d\.\d+", row)
        # One of two entities against both: 2 / 3 and 1.
        assert (numbers[0], numbers[3], numbers[6]) == ("0.667", "1.000", "+0.333")
        assert "on gold.jsonl: 12 texts of 6 documents" in done.out
        report = json.loads((tmp_path / "report.json").read_text())
        assert report == json.loads((out / "measure.json").read_text())
        assert [each["name"] for each in report["prompts"]] == ["generic", "careful"]
        assert report["types"] == ["person", "place"]
        assert report["spent"]["calls"] == 24 == sum(x["calls"] for x in dry.json.values())
        assert report["spent"]["tokens"] <= sum(x["tokens"] for x in dry.json.values())
        # A dry run refuses the folders that the run itself refuses.
        other = cuecard(*words(gold, careful, llm.url, "--out", careful), "--dry-run")
        assert other.code == 2 and str(careful) in other.err
        # Again, and with one more prompt: only that one is asked.
        assert cuecard("graphrag", "measure", "--resume", out).code == 0
        assert len(llm.asked) == 24
        (tmp_path / "json.txt").write_text("Answer in JSON: {{}}. {input_text}")
        more = cuecard(*asked, "--prompt", f"terse={tmp_path / 'json.txt'}", "--json")
        assert more.code == 0, more.err
        assert len(llm.asked) == 36
        told = json.loads(more.out.splitlines()[-1])
        assert told["prompts"][2]["form"] == "json"
        assert told["gains"]["prompts"]["terse"]["entities f1, strict"]["value"] == 0.0


def test_a_budget_that_does_not_last(
    cuecard: Call, gold: Path, careful: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with http_llm(extracted) as llm:
        few = cuecard(*words(gold, careful, llm.url, "--out", out, "--budget", "7 calls"))
        assert few.code == 2 and "the budget does not last" in few.err
        assert len(llm.asked) == 7 and not (out / "measure.json").exists()
        done = cuecard(*words(gold, careful, llm.url, "--out", out, "--budget", "24 calls"))
        assert done.code == 0, done.err
        assert len(llm.asked) == 24


def test_an_endpoint_that_fails_once(
    cuecard: Call, gold: Path, careful: Path, tmp_path: Path
) -> None:
    asked: list[str] = []

    def answer(request: LLMRequest) -> str | None:
        asked.append(request.messages[-1].content)
        return None if len(asked) == 5 else extracted(request)

    with http_llm(answer) as llm:
        done = cuecard(*words(gold, careful, llm.url, "--no-generic", "--out", tmp_path / "out"))
    assert done.code == 0, done.err
    assert len(asked) == 13 and len(set(asked)) == 12


def test_a_killed_measurement_goes_on(
    cuecard: Call, gold: Path, careful: Path, tmp_path: Path
) -> None:
    """A process that is killed with SIGKILL while it waits for an answer."""
    held: list[str] = []

    def answer(request: LLMRequest) -> str | None:
        if len(llm.asked) == 9 and not held:
            held.append(request.messages[-1].content)
            child.kill()
            return None
        return extracted(request)

    with http_llm(answer) as llm:
        asked = words(gold, careful, llm.url, "--out", tmp_path / "out", "--llm-at-once", "1")
        command = [sys.executable, "-m", "cuecard", *map(str, asked)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        child.communicate(timeout=300)
        assert child.returncode == -9 and len(llm.asked) == 9
        done = cuecard(*asked)
        assert done.code == 0, done.err
        told = [each["messages"][-1]["content"] for each in llm.asked]
    assert len(told) == 25 and len(set(told)) == 24  # only what was cut off is asked again
    assert told.count(held[0]) == 2
    report = json.loads((tmp_path / "out" / "measure.json").read_text())
    assert report["spent"]["calls"] == 25  # nobody knows whether that one was paid for


def test_a_project_without_gold(cuecard: Call, tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "prompts" / "tuned").mkdir(parents=True)
    save_corpus(root / "input", 6)
    (root / "settings.yaml").write_text(
        "extract_graph:\n  prompt: prompts/extract_graph.txt\n  entity_types: [person, place]\n"
    )
    (root / "prompts" / "extract_graph.txt").write_text(CAREFUL)
    (root / "prompts" / "tuned" / "extract_graph.txt").write_text("Careful <|> {input_text}")
    with http_llm(extracted) as llm:
        more = ("--llm", "m", "--llm-url", llm.url, "--out", tmp_path / "out", "--json")
        done = cuecard("graphrag", "measure", "--root", root, *more)
        assert done.code == 0, done.err
        report = json.loads(done.out.splitlines()[-1])
        assert len(llm.asked) == 3 * 2 * 6  # prompts, runs, texts
    assert [each["name"] for each in report["prompts"]] == ["generic", "project", "tuned"]
    assert report["types"] == ["person", "place"] and not report["texts"]["gold"]
    generic, project, _ = report["prompts"]
    assert generic["agreement"]["value"] == 1.0
    assert project["signals"]["conformance"] == 1.0 and project["signals"]["grounding"] == 1.0
    assert project["tokens_per_chunk"]["read"] < generic["tokens_per_chunk"]["read"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--corpus", "x"], "texts come from one place"),
        (["--type-name", "Event=x"], "no entity has this type"),
        (["--prompt", "missing.txt"], "the prompt cannot be read"),
        (["--prompt", "generic=x.txt"], "two prompts have one name"),
        (["--runs", "0"], "--runs"),
        (["--budget", "much"], "the search budget cannot be read"),
        (["--prompt-folder", "nowhere"], "nowhere"),
    ],
)
def test_mistakes(
    cuecard: Call, gold: Path, careful: Path, tmp_path: Path, more: list[Any], told: str
) -> None:
    out = tmp_path / "out"
    done = cuecard(*words(gold, careful, "http://127.0.0.1:9/v1", "--out", out, *more))
    assert done.code == 2 and told in done.err, done.err
    assert not out.exists()


def test_nothing_to_measure_or_to_ask(cuecard: Call, gold: Path, careful: Path) -> None:
    done = cuecard("graphrag", "measure", "--gold", gold, "--no-generic")
    assert done.code == 2 and "there is no prompt to measure" in done.err
    done = cuecard("graphrag", "measure", "--gold", gold, "--prompt", careful)
    assert done.code == 2 and "there is no LLM that extracts" in done.err
    done = cuecard("graphrag", "measure", "--prompt", careful)
    assert done.code == 2 and "texts come from one place" in done.err
    careful.write_text('{input_text} {"a": 1}')
    done = cuecard(*words(gold, careful, "http://127.0.0.1:9/v1"))
    assert done.code == 2 and "GraphRAG cannot use this prompt" in done.err
