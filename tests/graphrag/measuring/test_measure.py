"""Measuring prompts with a scripted model, whose answers depend on how it is asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConfigError, FileError
from cuecard.evaluation.report import plain
from cuecard.graphrag.answers import json_of, tuples_of
from cuecard.graphrag.gold import GoldText, TextSet
from cuecard.graphrag.measuring.measure import (
    MeasureReport,
    measure_costs,
    measured,
)
from cuecard.graphrag.measuring.prompts import (
    ExtractionPrompt,
    check_template,
    generic_prompt,
    read_prompt,
)
from cuecard.graphrag.measuring.settings import MeasureSettings
from cuecard.graphrag.prompts.slots import EXTRACTION, faults_in
from cuecard.graphrag.records import Entity, Extraction, Relation
from cuecard.llms.prices import Price
from cuecard.llms.protocol import LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.asker import Asker
from cuecard.search.budget import BudgetSpent, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.journal import FILE, Journal

NAMES = ("Ann", "Bob", "Cleo", "Dora")
TYPES = ("person", "place")
PRICE = Price(1.0, 2.0)


def whole(row: int) -> Extraction:
    name = NAMES[row % 4]
    return Extraction(
        (Entity(name, "person"), Entity(f"Town{row}", "place")), (Relation(name, f"Town{row}"),)
    )


TEXTS = TextSet(
    "people.jsonl",
    tuple(
        GoldText(f"{NAMES[row % 4]} lives in Town{row}.", whole(row), row + 1, str(row))
        for row in range(12)
    ),
)
CAREFUL = ExtractionPrompt("careful", "Be careful. {entity_types}\n{input_text}", "tuples")
TERSE = ExtractionPrompt("terse", "JSON. {input_text}", "json")


def answer(request: LLMRequest) -> str:
    """Finds all when asked to be careful, in JSON without the place; else talks in two of three."""
    text = request.messages[-1].content
    row = int(text.rpartition("Town")[2].rstrip(".\n#").split(".")[0])
    if "careful" in text:
        found = whole(row)
        other = request.temperature > 0 and row % 2
        return tuples_of(Extraction(found.entities[:1]) if other else found)
    if "JSON" in text:
        return json_of(Extraction(whole(row).entities[:1]))
    return "I see a person." if row % 3 else tuples_of(whole(row))


def asked(calls: Calls | None = None, llm: ScriptedLLM | None = None) -> Asker:
    calls = calls or Calls(Journal(None, ""), SearchBudget())
    return Asker(llm or ScriptedLLM(answer), calls, PRICE, wait=0.0)


def report(*prompts: ExtractionPrompt, texts: TextSet = TEXTS, runs: int = 1) -> MeasureReport:
    settings = MeasureSettings(TYPES, runs=runs)
    calls = Calls(Journal(None, ""), SearchBudget())

    async def all_of_them() -> MeasureReport:
        asker = asked(calls)
        found = [await measured(each, texts, settings, asker, PRICE) for each in prompts]
        return MeasureReport(texts, settings, tuple(found), calls.ledger.spent)

    return asyncio.run(all_of_them())


def test_prompts_on_gold_in_one_table() -> None:
    found = report(generic_prompt(), CAREFUL, TERSE)
    rows = {row.name: row for row in found.rows()}
    f1 = [value for value, _ in rows["entities f1, strict"].values]
    # Four of twelve answers have all; all have; all have one of two.
    assert f1 == pytest.approx([2 * 8 / (8 + 24), 1.0, 2 * 12 / (12 + 24)])
    (gain, interval), _ = rows["entities f1, strict"].gains
    assert gain == pytest.approx(0.5) and 0 < interval.low < 0.5 < interval.high
    relations = [value for value, _ in rows["relations recall, strict"].values]
    assert relations == pytest.approx([4 / 12, 1.0, 0.0])
    assert [v for v, _ in rows["conformance"].values] == pytest.approx([1 / 3, 1.0, 1.0])
    assert [v for v, _ in rows["empty"].values] == pytest.approx([2 / 3, 0.0, 0.0])
    assert [v for v, _ in rows["grounding"].values] == [1.0, 1.0, 1.0]
    told = json.loads(json.dumps(plain(found.to_dict())))
    assert told["texts"] == {
        "name": "people.jsonl",
        "chunks": 12,
        "documents": 12,
        "gold": True,
    }
    assert told["gains"]["over"] == "generic"
    assert told["gains"]["prompts"]["careful"]["entities f1, strict"]["value"] == pytest.approx(0.5)
    assert told["prompts"][0]["signals"]["faults"]["no completion marker"] == 8
    assert [row.name for row in found.rows(["empty"])] == ["empty"]


def test_costs_are_counted_and_foretold() -> None:
    found = report(CAREFUL, runs=2)
    (careful,) = found.measures
    costs = measure_costs([CAREFUL], TEXTS, found.settings, asked())
    assert found.spent.calls == costs["careful"].calls == 24
    assert careful.usage.tokens < found.spent.tokens <= costs["careful"].tokens
    money = careful.dollars * 12 * 1e6
    usage = careful.usage
    assert money == pytest.approx(usage.prompt_tokens + 2 * usage.completion_tokens)


def test_runs_are_compared() -> None:
    # Of the second run, half of the answers have one entity of two.
    found = report(CAREFUL, runs=2).measures[0].to_dict(0)
    assert found["agreement"]["value"] == pytest.approx(2 * 18 / (18 + 24))
    assert report(CAREFUL).measures[0].to_dict(0)["agreement"] is None


def test_a_corpus_without_gold() -> None:
    bare = TextSet(
        "corpus",
        tuple(GoldText(each.text, Extraction(), each.row, "one") for each in TEXTS.texts),
    )
    found = report(generic_prompt(), CAREFUL, texts=bare)
    assert [row.name for row in found.rows()] == [
        "conformance",
        "empty",
        "grounding",
        "coverage",
        "score",
    ]
    (_, interval) = found.rows(["score"])[0].gains[0]
    assert interval.low > 0
    assert found.to_dict()["prompts"][0]["scores"] == {}


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    settings = MeasureSettings(TYPES)

    def run(llm: ScriptedLLM, budget: SearchBudget) -> Any:
        async def once() -> Any:
            calls = Calls(Journal(tmp_path / FILE, "measure"), budget)
            return await measured(CAREFUL, TEXTS, settings, asked(calls, llm), PRICE)

        return asyncio.run(once())

    first, second = ScriptedLLM(answer), ScriptedLLM(answer)
    with pytest.raises(BudgetSpent):
        run(first, SearchBudget(calls=5))
    assert len(first.requests) == 5
    found = run(second, SearchBudget())
    assert len(second.requests) == 7
    assert not {*first.requests} & {*second.requests}
    assert found.to_dict(0) == report(CAREFUL).measures[0].to_dict(0)


def test_an_answer_that_is_cut_is_told() -> None:
    settings = MeasureSettings(TYPES, max_tokens=10)
    found = asyncio.run(measured(CAREFUL, TEXTS, settings, asked(), PRICE))
    assert found.cut == 12
    assert found.to_dict(0)["signals"]["faults"]["no completion marker"] == 12


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("no text", "input_text} is missing"),
        ("", "empty"),
        ('{input_text} {"name": 1}', "no placeholder"),
        ("{input_text} {tuple_delimiter}", "no placeholder"),
        ("{input_text.__class__}", "no placeholder"),
        ("{input_text!r}", "a format of its own"),
    ],
)
def test_prompts_that_graphrag_cannot_format(template: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_template(template, "prompt")


def test_prompts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tuned.txt"
    path.write_text("Write JSON: {{}}. {input_text}")
    found = read_prompt(path)
    assert (found.name, found.form) == ("tuned", "json")
    request = found.request("  A {b}\n", ["x", "y"], 5)
    assert request.messages[0].content == "Write JSON: {}. A {b}"
    path.write_text("{entity_types}: {input_text} as (<|>), no JSON")
    assert read_prompt(path).form == "tuples"
    assert read_prompt(path, "own", "json").name == "own"
    text = read_prompt(path).request("A", ["x", "y"], 5).messages[0].content
    assert text == "x,y: A as (<|>), no JSON"
    with pytest.raises(FileError):
        read_prompt(tmp_path / "missing.txt")
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_prompt(path)


def test_the_generic_prompts_examples_keep_to_its_form() -> None:
    prompt = generic_prompt()
    assert faults_in(prompt.template, EXTRACTION) == []
    parts = prompt.template.split("Output:\n")[1:]
    for part, types in zip(parts, (["organization", "person"], ["geo", "event"]), strict=True):
        found = prompt.answers.read(part.partition("\n####")[0], types)
        assert found.faults == () and found.extraction.relations
