"""`cuecard graphrag dataset`, and the prompt that `cuecard train` makes of it, measured."""

from __future__ import annotations

import json
from pathlib import Path

from cuecard.graphrag.answers import read_json, read_tuples
from cuecard.llms.protocol import LLMRequest
from support.command_line import Call
from support.extraction_texts import extracted, save_corpus, save_gold, text_of, what_is_in
from support.http_llm import http_llm


def test_rows_of_gold(cuecard: Call, tmp_path: Path) -> None:
    gold, out = save_gold(tmp_path / "gold.jsonl", 10), tmp_path / "out"
    done = cuecard("graphrag", "dataset", "--gold", gold, "--target", "json", "--out", out)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (out / "dataset.jsonl").read_text().splitlines()]
    assert [each["text"] for each in rows] == [text_of(row) for row in range(10)]
    assert [each["document"] for each in rows[:4]] == ["d0", "d0", "d1", "d1"]
    found = read_json(rows[3]["target"])
    assert not found.faults and found.extraction.relations[0].type == "lives in"
    assert [e.name for e in found.extraction.entities] == ["Dora", "Town3"]
    assert found.extraction.entities[1].description == "Dora lives in Town3"
    short = cuecard("graphrag", "dataset", "--gold", gold, "--no-descriptions", "--out", out)
    assert short.code == 2 and "other settings" in short.err
    assert cuecard("graphrag", "dataset", "--resume", out).code == 0
    done = cuecard(
        *("graphrag", "dataset", "--gold", gold, "--no-descriptions", "--out", out, "--overwrite")
    )
    assert done.code == 0, done.err
    row = json.loads((out / "dataset.jsonl").read_text().splitlines()[3])
    assert {e.description for e in read_tuples(row["target"]).extraction.entities} == {""}


def test_rows_of_a_stronger_models_answers(cuecard: Call, tmp_path: Path) -> None:
    corpus, out = save_corpus(tmp_path / "corpus", 9), tmp_path / "out"

    def answer(request: LLMRequest) -> str | None:
        text = request.messages[-1].content
        if "Town3." in text:
            return "I do not know."
        if "Town5." in text:
            return (extracted(request) or "").replace("Fay", "Faye")
        return extracted(request)

    with http_llm(answer) as llm:
        asked = ["graphrag", "dataset", "--corpus", corpus, "--llm", "m", "--llm-url", llm.url]
        asked += ["--types", "person,place", "--out", str(out)]
        dry = cuecard(*asked, "--dry-run", "--json")
        assert dry.json["calls"] == 9 and not llm.asked
        done = cuecard(*asked)
        assert done.code == 0, done.err
        assert len(llm.asked) == 9
        again = cuecard("graphrag", "dataset", "--resume", out, "--json")
        assert len(llm.asked) == 9
    told = json.loads(again.out.splitlines()[-1])
    assert told["rows"] == 7 and sum(told["left_out"].values()) == 2
    assert "a name that does not stand in the text (1)" in done.out
    rows = [json.loads(line) for line in (out / "dataset.jsonl").read_text().splitlines()]
    assert {each["document"] for each in rows} == {f"{n:03}.txt" for n in (0, 1, 2, 4, 6, 7, 8)}
    assert read_tuples(rows[0]["target"]).extraction.entities == what_is_in(0).entities[:1]


def test_nothing_to_learn_from(cuecard: Call, tmp_path: Path) -> None:
    corpus, out = save_corpus(tmp_path / "corpus", 3), tmp_path / "out"
    with http_llm(lambda request: "?") as llm:
        more = ("--llm", "m", "--llm-url", llm.url, "--out", out)
        done = cuecard("graphrag", "dataset", "--corpus", corpus, *more)
    assert done.code == 2 and "no answer can be learnt from" in done.err
    assert not (out / "dataset.jsonl").exists()


def test_a_prompt_trained_on_rows_is_measured(
    cuecard: Call, backbone: Path, tmp_path: Path
) -> None:
    gold, out = save_gold(tmp_path / "gold.jsonl", 20), tmp_path / "rows"
    assert cuecard("graphrag", "dataset", "--gold", gold, "--out", out).code == 0
    run = tmp_path / "soft"
    task = ("--kind", "text-to-text", "--label-field", "target", "--group-field", "document")
    small = ("--steps", "2", "--length", "2", "--set", "task.max_new_tokens=8", "--no-compare")
    data = out / "dataset.jsonl"
    done = cuecard("train", data, *task, "--backbone", backbone, *small, "--out", run)
    assert done.code == 0, done.err
    asked = ["graphrag", "measure", "--gold", gold, "--limit", "4", "--no-generic"]
    asked += ["--prompt-folder", f"soft={run}", "--out", str(tmp_path / "m")]
    dry = cuecard(*asked, "--dry-run", "--json")
    assert dry.json["soft"]["calls"] == 4
    done = cuecard(*asked, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out.splitlines()[-1])
    (soft,) = report["prompts"]
    assert soft["name"] == "soft" and report["spent"]["calls"] == 4
    assert soft["signals"]["empty"] == 1.0  # two steps teach nothing
    assert 0 < soft["tokens_per_chunk"]["written"] <= 8
    journal = (tmp_path / "m" / "journal.jsonl").read_bytes()
    assert cuecard("graphrag", "measure", "--resume", tmp_path / "m").code == 0
    assert (tmp_path / "m" / "journal.jsonl").read_bytes() == journal
