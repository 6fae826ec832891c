"""Searching for an extraction prompt, with a scripted model that heeds some words of it."""

from __future__ import annotations

import asyncio
import os
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cuecard.errors import ConfigError
from cuecard.graphrag.answers import tuples_of
from cuecard.graphrag.gold import GoldText, TextSet
from cuecard.graphrag.measuring.prompts import ExtractionPrompt
from cuecard.graphrag.optimising.layout import PromptLayout
from cuecard.graphrag.optimising.objectives import Objective
from cuecard.graphrag.optimising.solver import CandidatePrompts, ExtractionSolver
from cuecard.graphrag.optimising.task import extraction_task, start_of
from cuecard.graphrag.optimising.types_search import WithTypeNames, names_in
from cuecard.graphrag.records import Entity, Extraction, Relation
from cuecard.llms.protocol import LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.found import Found
from cuecard.search.journal import FILE, Journal
from cuecard.search.loop import Search
from cuecard.search.searchers import SEARCHERS
from cuecard.search.settings import SearchSettings
from cuecard.tasks import Task

NAMES = ("Ann", "Bob", "Cleo", "Dora", "Emil", "Fay")
TYPES = ("Peop", "OtherPlace")
TEMPLATE = """\
-Goal-
Find some entities.

-Steps-
Types: [{entity_types}]. Write ("entity"<|>NAME<|>TYPE<|>TEXT), then <|COMPLETE|>

-Real Data-
Text: {input_text}
Output:"""
LAYOUT = PromptLayout.of(ExtractionPrompt("start", TEMPLATE, "tuples"))


class KilledError(Exception):
    """The process is killed."""


def whole(row: int, types: tuple[str, str] = TYPES) -> Extraction:
    name = NAMES[row % 6]
    return Extraction(
        (Entity(name, types[0]), Entity(f"Town{row}", types[1])),
        (Relation(name, f"Town{row}", type="lives in"),),
    )


TEXTS = TextSet(
    "people.jsonl",
    tuple(
        GoldText(f"{NAMES[row % 6]} lives in Town{row}.", whole(row), row + 1, str(row // 2))
        for row in range(120)
    ),
)
KNOWN = {each.text: each for each in TEXTS.texts}
PROMPTS = CandidatePrompts(LAYOUT, TYPES, KNOWN)


def answer(request: LLMRequest) -> str:
    """Finds places when told of "all", persons when the type is named well; writes when asked."""
    text = request.messages[-1].content
    if text.startswith("Entities of these types"):
        assert re.search(r"^Peop: \w+, \w+", text, re.MULTILINE)
        return "Peop: person\nOtherPlace: town or city\nNobody: x"
    if not text.endswith("Output:"):
        draw = random.Random(f"{text}{request.sample}")
        return f"<prompt>{draw.choice(['Find all entities.', 'Look hard.', 'Go.'])}</prompt>"
    row = int(text.rpartition("Town")[2].partition(".")[0])
    types = re.search(r"Types: \[(.*?),(.*?)\]", text)
    assert types is not None
    found = whole(row, (types[1], types[2]))
    kept = [found.entities[0]] if types[1] == "person" else []
    kept += [found.entities[1]] if "all" in text or "Example 1:" in text else []
    return tuples_of(Extraction(tuple(kept)))


def solver(asker: Asker, objective: Objective = "entities") -> ExtractionSolver:
    return ExtractionSolver(asker, PROMPTS, objective, 200)


def asker(llm: ScriptedLLM | None = None, folder: Path | None = None) -> tuple[Asker, Calls]:
    journal = Journal(None if folder is None else folder / FILE, "x")
    calls = Calls(journal, SearchBudget())
    return Asker(llm or ScriptedLLM(answer), calls, wait=0.0), calls


def task() -> Task:
    return extraction_task(TEXTS, LAYOUT, seed=0, split=(0.6, 0.2, 0.2), max_tokens=200)


@pytest.fixture(autouse=True)
def _journals_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: processes are killed here, and machines are not."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


def search(name: str, llm: ScriptedLLM | None = None, folder: Path | None = None) -> Found:
    asked, calls = asker(llm, folder)
    settings = SearchSettings(rows=16, proposals=3, rounds=3, finalists=2, block=8)
    searcher = WithTypeNames(SEARCHERS[name].make(), TYPES, KNOWN)
    made = Search(task(), start_of(LAYOUT), searcher, solver(asked), calls, settings, asker=asked)
    return asyncio.run(made.run())


def test_documents_are_in_one_split() -> None:
    found = task()
    groups = [{each.group for each in part} for part in (found.train, found.validation, found.test)]
    assert all(groups) and not (groups[0] & groups[1] or groups[0] & groups[2])
    assert not groups[1] & groups[2]


def test_the_start_is_the_prompt_as_it_is() -> None:
    made = PROMPTS.prompt(start_of(LAYOUT))
    assert made.template == TEMPLATE.replace("{entity_types}", "Peop,OtherPlace")
    asked, _ = asker()
    record = task().train[0]
    (judged,) = asyncio.run(solver(asked).judge(start_of(LAYOUT), [record]))
    assert judged.score == 0.0 and judged.answer == "<|COMPLETE|>"


@pytest.mark.parametrize("name", ["auto", "opro", "mipro", "demonstrations"])
def test_instruction_types_and_examples_are_found(name: str) -> None:
    found = search(name)
    assert found.better
    best = found.best
    assert found.finals[0].score == 1.0
    assert best.prompt.words == {"Peop": "person", "OtherPlace": "town or city"}
    made = PROMPTS.prompt(best).template
    assert "[person,town or city]" in made
    shown = best.prompt.demonstrations
    assert "all" in best.prompt.instruction or shown
    raced = {record.text("text") for record in task().validation}
    assert not raced & {record.text("text") for record in shown}
    for record in shown:
        assert f"<|>{record.text('text').split()[0]}<|>person<|>" in made


def test_a_search_goes_on_without_a_repeated_call(tmp_path: Path) -> None:
    def dying(request: LLMRequest) -> str:
        if len(first.requests) > 60:
            raise KilledError
        return answer(request)

    first, second, third = ScriptedLLM(dying), ScriptedLLM(answer), ScriptedLLM(answer)
    with pytest.raises(KilledError):
        search("opro", first, tmp_path)
    found = search("opro", second, tmp_path)
    answered = {*first.requests[:50]}
    assert not answered & {*second.requests} and second.requests
    whole_run = search("opro", third)
    assert found.best.key == whole_run.best.key
    assert [r.score for r in found.ranked] == [r.score for r in whole_run.ranked]


@pytest.mark.parametrize(
    ("objective", "entities", "relations", "score"),
    [
        ("entities", 1, 0, 2 / 3),
        ("relations", 2, 0, 0.0),
        ("both", 2, 0, 0.5),
        ("both", 2, 1, 1.0),
        # One sentence with a name of it; the form is right.
        ("signals", 1, 0, 1.0),
        ("signals", 0, 0, 0.0),
    ],
)
def test_what_answers_are_worth(
    objective: Objective, entities: int, relations: int, score: float
) -> None:
    record = task().train[0]
    full = KNOWN[record.text("text")].extraction
    some = Extraction(full.entities[:entities], full.relations[:relations])
    worth = PROMPTS.worth(start_of(LAYOUT), record, tuples_of(some), objective)
    assert worth == pytest.approx(score)


def test_nothing_found_where_nothing_is_is_right() -> None:
    text = GoldText("Rain.", Extraction(), 1, "1")
    prompts = CandidatePrompts(LAYOUT, TYPES, {"Rain.": text})
    record = replace(task().train[0], fields={"text": "Rain."})
    assert prompts.worth(start_of(LAYOUT), record, "<|COMPLETE|>", "entities") == 1.0


def test_prompts_that_are_too_long_are_not_tried() -> None:
    asked, _ = asker()
    tight = ExtractionSolver(asked, PROMPTS, "entities", 200, prompt_tokens=300)
    start = start_of(LAYOUT)
    rows = task().train
    assert tight.most(start, rows[:2]).calls == 2
    long = PromptCandidate(replace(start.prompt, demonstrations=rows[:3]), "three examples")
    with pytest.raises(ConfigError, match="three examples"):
        tight.most(long, rows[:2])


def test_names_of_types_in_an_answer() -> None:
    said = '- peop: **person**\nOther-Place: "town, or city"\nplain\nPeop2: x'
    assert names_in(said, ["Peop", "Other_Place"]) == {"Peop": "person", "Other_Place": "town"}
    assert names_in("", TYPES) == {each: each for each in TYPES}
