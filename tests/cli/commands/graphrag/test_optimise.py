"""`cuecard graphrag optimise` as a user types it, before a scripted endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command_line import Call
from support.extraction_texts import extracted, save_corpus, save_gold
from support.http_llm import HttpLLM, http_llm

PROMPT = """\
-Goal-
Find what is there.

-Steps-
Types: {entity_types}. Write ("entity"<|>NAME<|>TYPE<|>TEXT)

-Real Data-
{input_text}
"""
SMALL = ("--rounds", "2", "--proposals", "3", "--finalists", "1", "--race-rows", "8")


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    path = tmp_path / "start.txt"
    path.write_text(PROMPT)
    return path


def words(prompt: Path, llm: HttpLLM, *more: object) -> list[object]:
    own = ("--llm", "m", "--llm-url", llm.url, "--searcher", "opro", "--block", "4")
    return ["graphrag", "optimise", "--prompt", prompt, *own, *SMALL, *more]


def test_a_better_prompt_is_found_on_gold(cuecard: Call, prompt: Path, tmp_path: Path) -> None:
    out, gold = tmp_path / "out", save_gold(tmp_path / "gold.jsonl", 60)
    with http_llm(extracted) as llm:
        asked = words(prompt, llm, "--gold", gold, "--out", out)
        dry = cuecard(*asked, "--dry-run", "--json")
        assert dry.code == 0 and not llm.asked and "round" in dry.json["parts"]
        done = cuecard(*asked)
        assert done.code == 0, done.err
        count = len(llm.asked)
        assert "round 1: " in done.out and "(validation, entities)" in done.out
        assert cuecard("graphrag", "optimise", "--resume", out).code == 0
        assert len(llm.asked) == count
    found = json.loads((out / "optimise.json").read_text())
    assert found["better"] and found["objective"] == "entities"
    assert [each["name"] for each in found["test"]["prompts"]] == ["start", "found"]
    gain = found["test"]["gains"]["prompts"]["found"]["entities f1, strict"]
    assert gain["value"] == pytest.approx(1 / 3)
    made = (out / "extract_graph.txt").read_text()
    assert made == PROMPT.replace("Find what is there.", "Be careful.").replace(
        "{entity_types}", made.split("Types: ")[1].split(". Write")[0]
    )


def test_the_prompt_as_it_was_may_win(cuecard: Call, prompt: Path, tmp_path: Path) -> None:
    prompt.write_text(PROMPT.replace("Find", "Careful: find"))
    out, gold = tmp_path / "out", save_gold(tmp_path / "gold.jsonl", 60)
    with http_llm(extracted) as llm:
        done = cuecard(*words(prompt, llm, "--gold", gold, "--out", out))
    assert done.code == 0, done.err
    assert "which is kept" in done.out
    assert "Careful: find what is there." in (out / "extract_graph.txt").read_text()


def test_a_corpus_without_gold(cuecard: Call, prompt: Path, tmp_path: Path) -> None:
    corpus = save_corpus(tmp_path / "corpus", 60)
    more = ("--types", "person,place", "--out", tmp_path / "out", "--json")
    with http_llm(extracted) as llm:
        done = cuecard(*words(prompt, llm, "--corpus", corpus, *more))
        assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    assert found["objective"] == "signals"
    assert found["test"]["prompts"][0]["signals"]["conformance"] == 1.0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--searcher", "gcg"], "no such searcher for extraction prompts"),
        (["--objective", "entities"], "without gold nobody knows what is right"),
        (["--split", "0.5,0.5"], "--split"),
        (["--budget", "3 calls"], "where: --budget"),
        (["--prompt-tokens", "20"], "the prompt is too long"),
    ],
)
def test_mistakes(cuecard: Call, prompt: Path, tmp_path: Path, more: list[str], told: str) -> None:
    corpus = save_corpus(tmp_path / "corpus", 60)
    with http_llm(extracted) as llm:
        asked = words(prompt, llm, "--corpus", corpus, "--out", tmp_path / "out", "--dry-run")
        done = cuecard(*asked, *more)
        assert done.code == 2 and told in done.err, done.err
        assert not llm.asked


def test_answers_that_are_no_examples(cuecard: Call, prompt: Path, tmp_path: Path) -> None:
    corpus = save_corpus(tmp_path / "corpus", 60)
    with http_llm(lambda request: "I do not know.") as llm:
        done = cuecard(*words(prompt, llm, "--corpus", corpus, "--out", tmp_path / "out"))
    assert done.code == 2 and "too few to search with" in done.err
    assert "neither an entity nor a relationship (33)" in done.err
