"""`cuecard graphrag tune` as a user types it, with an endpoint that answers what a tuning asks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cuecard.graphrag.prompts.slots import GRAPHRAG_3, faults_in
from cuecard.llms.protocol import LLMRequest
from support import scripted_graphrag as script
from support.command_line import Call
from support.http_llm import HttpLLM, http_llm
from support.scripted_graphrag import kind_of, save_corpus

FILES = ("extract_graph.txt", "summarize_descriptions.txt", "community_report_graph.txt")
SETTINGS = """\
# our project
input:
  type: text
chunking:
  size: 40   # small
  overlap: 5
extract_graph:
  prompt: "prompts/extract_graph.txt"
  entity_types: [organization,person,geo,event]
"""


@pytest.fixture
def llm() -> Iterator[HttpLLM]:
    with http_llm(script.answer) as made:
        yield made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with texts of 14 chunks, and some files that are none."""
    folder = tmp_path / "project"
    save_corpus(folder / "input", 14)
    (folder / "input" / "empty.txt").write_text("")
    (folder / "input" / "binary.txt").write_bytes(b"\x00\x01")
    (folder / "settings.yaml").write_text(SETTINGS)
    (folder / "prompts").mkdir()
    (folder / "prompts" / "extract_graph.txt").write_text("{input_text} <|> ## <|COMPLETE|>")
    return folder


def words(root: Path, llm: HttpLLM, *more: object) -> tuple[object, ...]:
    return ("graphrag", "tune", "--root", root, "--llm", "m", "--llm-url", llm.url, *more)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_prompts_are_written_and_nothing_else_is_changed(
    cuecard: Call, root: Path, llm: HttpLLM
) -> None:
    before = contents(root)
    done = cuecard(*words(root, llm))
    assert done.code == 0, done.err
    after = contents(root)
    assert before.items() <= after.items()
    new = set(after) - set(before)
    (journal,) = [name for name in new if name.startswith("tuning/journal-")]
    assert new == {journal, "tuning/tune.json", *(f"prompts/tuned/{name}" for name in FILES)}
    slots = {slot.file: slot for slot in GRAPHRAG_3}
    for name in FILES:
        assert faults_in(after[f"prompts/tuned/{name}"].decode(), slots[name]) == []
    assert "left out: binary.txt: a binary file" in done.out and "empty.txt: empty" in done.out
    assert "14 of 14 chunks" in done.out and "run this again with --apply" in done.out
    report = json.loads((root / "tuning" / "tune.json").read_text())
    assert report["profile"]["domain"] == "shipping {law}" and report["problems"] == []
    assert report["asked"] == len(llm.asked) == 10
    assert report["spent"]["calls"] == 10
    assert {"ship", "person"} <= {each["name"] for each in report["types"]}


def test_applied_settings_name_the_prompts_and_keep_their_comments(
    cuecard: Call, root: Path, llm: HttpLLM
) -> None:
    done = cuecard(*words(root, llm, "--apply", "--types", "ship,person"))
    assert done.code == 0, done.err
    text = (root / "settings.yaml").read_text()
    assert "# our project" in text and "size: 40   # small" in text
    found = yaml.safe_load(text)
    assert found["extract_graph"]["prompt"] == "prompts/tuned/extract_graph.txt"
    assert found["extract_graph"]["entity_types"] == ["ship", "person"]
    assert found["community_reports"]["graph_prompt"] == f"prompts/tuned/{FILES[2]}"
    assert (root / "settings.yaml.bak").read_text() == SETTINGS
    assert cuecard("graphrag", "validate", "--root", root).code == 0


def test_a_second_command_pays_for_nothing_and_keeps_what_was_there(
    cuecard: Call, root: Path, llm: HttpLLM
) -> None:
    assert cuecard(*words(root, llm)).code == 0
    asked, first = len(llm.asked), contents(root / "prompts" / "tuned")
    assert cuecard(*words(root, llm)).code == 0
    assert contents(root / "prompts" / "tuned") == first
    assert cuecard(*words(root, llm, "--examples", "2")).code == 0
    assert len(llm.asked) == asked
    after = contents(root / "prompts" / "tuned")
    assert after["extract_graph.txt.bak"] == first["extract_graph.txt"]
    assert after["extract_graph.txt"] != first["extract_graph.txt"]
    assert len(after) == len(FILES) + 1


def test_dry_run_asks_and_writes_nothing(cuecard: Call, root: Path, llm: HttpLLM) -> None:
    before = contents(root)
    done = cuecard(*words(root, llm, "--dry-run", "--llm-price", "1,2"))
    assert done.code == 0 and "profile" in done.out and "in all" in done.out
    (chosen,) = [line for line in done.out.splitlines() if line.startswith("chosen: ")]
    assert chosen.count("chunk 1") == 10 and chosen.endswith("; and 4 more")
    told = cuecard(*words(root, llm, "--dry-run", "--json", "--llm-price", "1,2")).json
    assert contents(root) == before and llm.asked == []
    assert told["parts"]["types"]["calls"] == 3 and told["at_most"]["dollars"] > 0
    assert told["coverage"]["of"] == 14
    assert told["at_most"]["calls"] == 20  # ten, and each once more
    few = cuecard(*words(root, llm, "--dry-run", "--budget", "3 calls"))
    assert "the budget of 3 calls may not last" in few.out


@pytest.mark.parametrize(
    ("more", "files"),
    [
        (("--dialect", "graphrag-2"), set(FILES)),
        (("--dialect", "lightrag"), {"lightrag_prompts.json"}),
        (("--dialect", "text"), {"extract.txt"}),
        (("--weak",), {"extract_graph_json.txt", *FILES[1:]}),
    ],
)
def test_dialects(
    cuecard: Call, root: Path, llm: HttpLLM, more: tuple[str, ...], files: set[str]
) -> None:
    out = root / "elsewhere"
    done = cuecard(*words(root, llm, "--out", out, *more))
    assert done.code == 0, done.err
    assert set(contents(out)) == files


def test_diverse_chunks_by_a_model_of_a_folder(
    cuecard: Call, root: Path, llm: HttpLLM, backbone: Path
) -> None:
    chosen = ("--selection", "diverse", "--chunks", "4", "--embedder", backbone)
    told = cuecard(*words(root, llm, *chosen, "--json")).out.splitlines()[-1]
    found = json.loads(told)
    assert found["event"] == "result" and len(found["chosen"]) == 4
    assert found["coverage"]["similarity"] > 0
    again = json.loads(cuecard(*words(root, llm, *chosen, "--json")).out.splitlines()[-1])
    assert again["chosen"] == found["chosen"]


def test_a_folder_of_texts_without_settings(cuecard: Call, tmp_path: Path, llm: HttpLLM) -> None:
    corpus = save_corpus(tmp_path / "texts", 2)
    done = cuecard("graphrag", "tune", corpus, *words(tmp_path / "new", llm)[2:])
    assert done.code == 0, done.err
    assert "examples: 2 of 3 could be had" in done.out
    assert set(contents(tmp_path / "new" / "prompts" / "tuned")) == set(FILES)


def test_examples_of_gold_are_shown_and_not_asked_for(
    cuecard: Call, root: Path, llm: HttpLLM, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.jsonl"
    row = {"text": "Ann Lee is in Tarn.", "entities": [{"name": "Ann Lee", "type": "Sailor"}]}
    gold.write_text(json.dumps(row | {"relations": []}) + "\n")
    done = cuecard(*words(root, llm, "--gold", gold))
    assert done.code == 0, done
    prompt = (root / "prompts" / "tuned" / "extract_graph.txt").read_text()
    assert "Types: Sailor" in prompt and '("entity"<|>Ann Lee<|>Sailor<|>sailor)' in prompt
    assert len(llm.asked) == 1 and '"persona"' in llm.asked[0]["messages"][-1]["content"]
    missing = cuecard(*words(root, llm, "--gold", tmp_path / "none.jsonl"))
    assert missing.code == 2 and "none.jsonl" in missing.err


def test_a_budget_that_does_not_last(cuecard: Call, root: Path) -> None:
    with http_llm(script.answer) as broken:
        done = cuecard(*words(root, broken, "--budget", "4 calls"))
        assert done.code == 2 and "what was answered is kept" in done.err
        assert len(broken.asked) == 4
    assert not (root / "prompts" / "tuned").exists()
    assert "{input_text}" in (root / "prompts" / "extract_graph.txt").read_text()


def test_a_model_that_cannot_do_it_leaves_no_prompts(cuecard: Call, root: Path) -> None:
    with http_llm(lambda request: "I would rather not.") as llm:
        done = cuecard(*words(root, llm))
    assert done.code == 2
    assert "no example could be read" in done.err and "--examples 0" in done.err
    assert "I would rather not." in done.out  # each answer is told
    assert not (root / "prompts" / "tuned").exists()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--dialect", "grafrag"), "did you mean 'graphrag'?"),
        (("--dialect", "text", "--apply"), "only prompts that GraphRAG 3 reads"),
        (("--weak", "--apply"), "only prompts that GraphRAG 3 reads"),
        (("--weak", "--dialect", "lightrag"), "one form of answers"),
        (("--budget", "a lot"), "where: --budget"),
        (("--budget", "$1"), "needs the model's price"),
        (("--examples", "-1"), "--examples"),
        (("--text-field", "body", "--selection", "some"), "--selection"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(
    cuecard: Call, root: Path, llm: HttpLLM, more: tuple[str, ...], expected: str
) -> None:
    before = contents(root)
    done = cuecard(*words(root, llm, *more))
    assert done.code == 2 and expected in done.err, done.err
    assert llm.asked == [] and contents(root) == before


def test_chunks_of_sentences_are_told_to_be_others(cuecard: Call, root: Path, llm: HttpLLM) -> None:
    (root / "settings.yaml").write_text("chunking:\n  type: sentence\n")
    done = cuecard(*words(root, llm, "--dry-run"))
    assert done.code == 0 and "chunks are sentences" in done.err


def test_apply_needs_settings(cuecard: Call, tmp_path: Path, llm: HttpLLM) -> None:
    corpus = save_corpus(tmp_path / "texts", 2)
    done = cuecard("graphrag", "tune", corpus, *words(tmp_path / "new", llm)[2:], "--apply")
    assert done.code == 2 and "no settings to change" in done.err and llm.asked == []


def test_killed_and_run_again(cuecard: Call, root: Path) -> None:
    """A process that is killed with SIGKILL while it waits for an answer."""
    held: list[LLMRequest] = []

    def answer(request: LLMRequest) -> str | None:
        if kind_of(request) == "example" and not held:
            held.append(request)
            child.kill()
            return None
        return script.answer(request)

    with http_llm(answer) as llm:
        call = words(root, llm, "--types", "ship,person", "--llm-at-once", "1")
        command = [sys.executable, "-m", "cuecard", *map(str, call)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        child.communicate(timeout=300)
        assert child.returncode == -9
        assert [kind_of(each) for each in held] == ["example"] and len(llm.asked) == 2
        assert not (root / "prompts" / "tuned").exists()
        done = cuecard(*call)
        assert done.code == 0, done.err
        bodies = [json.dumps(each) for each in llm.asked]
        assert len(bodies) == 8 and len(set(bodies)) == 7  # only what was cut off is asked again
    report = json.loads((root / "tuning" / "tune.json").read_text())
    assert report["spent"]["calls"] == 8  # it counts, since nobody knows whether it was paid for
