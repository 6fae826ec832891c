"""Every searcher: the same by seed, within its budget, never worse."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConfigError, CuecardWarning, LLMError
from cuecard.llms.protocol import LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.metrics.intervals import paired_interval
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import first_candidate
from cuecard.search.journal import Journal
from cuecard.search.loop import Search
from cuecard.search.searchers import SEARCHERS, check_settings, settings_of
from cuecard.search.searchers.writing import instruction_in
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import LLMSolver, label_in
from cuecard.testing.scripted import scripted_search
from cuecard.testing.searchers import shown
from support.data.reviews import SPEC, TEXT_SPEC, review_task
from support.plugin_packages import install_package
from support.scripted_search import (
    GOOD,
    NO_LIMITS,
    SCRIPTED,
    SETTINGS,
    START,
    search,
    told,
    world,
)
from support.tiny import shared_backbone

# Searchers that show rows: in a prompt, or to the model that writes one.
SHOWING = {"demonstrations", "ape", "opro", "capo", "mipro", "gepa", "gepa-library"}


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_searcher_keeps_its_promises(name: str, tmp_path: Path) -> None:
    found = search(name, tmp_path)
    assert told(found) == told(search(name))
    own = next(r for r in found.finals if r.candidate.key == START.key)
    best = next(r for r in found.finals if r.candidate.key == found.best.key)
    assert best.score >= own.score and len(best.answers) == len(own.answers)
    assert len({racer.candidate.key for racer in found.ranked}) == len(found.ranked) > 3
    other = search(name, settings=SETTINGS.model_copy(update={"seed": 1}))
    assert told(other)[1] != told(found)[1]
    # A second sitting asks nothing.
    silent = world()
    again = search(name, tmp_path, silent)
    assert told(again) == told(found) and not silent.requests and again.spent == found.spent


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_searcher_reads_the_settings_that_it_says(name: str) -> None:
    read = set[str]()

    class Watched(SearchSettings):
        def __getattribute__(self, setting: str) -> Any:
            read.add(setting)
            return super().__getattribute__(setting)

    search(name, settings=Watched(**SETTINGS.model_dump()))
    some = {setting for entry in SEARCHERS.values() for setting in entry.settings}
    assert read & some == settings_of(name)


def test_a_package_that_is_broken_is_in_no_other_searchers_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"cuecard.searchers": {"broken": "no_such_module:Broken"}}
    monkeypatch.syspath_prepend(install_package(tmp_path, "broken-search", points, {}))
    monkeypatch.setattr(SEARCHERS, "_told", set())
    check_settings("grips", SearchSettings())  # imports nothing, so that there is no warning
    with (
        pytest.warns(CuecardWarning, match="left out: broken-search 1.0"),
        pytest.raises(ConfigError, match="no use for fluency") as refused,
    ):
        check_settings("grips", SearchSettings(fluency=0.5))
    assert refused.value.expected == "--searcher autoprompt, gcg, pez"


def test_a_race_begins_with_rows_of_every_label_though_the_file_is_sorted() -> None:
    task = review_task(160)
    rows = tuple(sorted(task.train, key=lambda record: str(record.target)))
    llm = world()
    asker = Asker(llm, Calls(Journal(None, ""), NO_LIMITS))
    made = Search(
        replace(task, train=rows, test=()),
        START,
        SEARCHERS["grips"].make(),
        LLMSolver(asker, task.spec),
        Calls(Journal(None, ""), NO_LIMITS),
        SETTINGS.model_copy(update={"rows": 60}),
    )
    asyncio.run(made.run())
    targets = {record.texts["text"]: record.target for record in rows}
    asked = [r.messages[-1].content.rpartition("Review: ")[2].split("\n")[0] for r in llm.requests]
    first = [targets[text] for text in asked if text in targets][: SETTINGS.block]
    assert set(first) == set(task.spec.labels)


@pytest.mark.parametrize("name", SCRIPTED)
def test_no_row_that_prompts_are_compared_on_is_shown(name: str) -> None:
    llm, task = world(), review_task(200)
    searcher = SEARCHERS[name].make()
    made = scripted_search(searcher, llm=llm, rows=200, backbone=shared_backbone())
    asyncio.run(made.run())
    compared = {record.texts["text"] for record in made.compared}
    others = {record.texts["text"] for record in task.train} - compared
    told_of = shown(llm.requests)
    assert told_of.isdisjoint(compared) and len(compared) == SETTINGS.rows + len(task.validation)
    assert not told_of.isdisjoint(others) or name not in SHOWING


@pytest.mark.parametrize("name", SCRIPTED)
def test_no_budget_is_passed(name: str) -> None:
    for calls in (160, 250):
        llm = world()
        found = search(name, None, llm, SearchBudget(calls=calls))
        rows_here = found.spent.calls - len(llm.requests)
        assert rows_here == 0 or name == "auto" or "gradients" in SEARCHERS[name].needs
        assert len(llm.requests) <= found.spent.calls <= calls
    llm = world()
    found = search(name, None, llm, SearchBudget(money=100_000))
    assert 0 < found.spent.money <= 200_000


def test_good_words_are_found() -> None:
    found = search("opro", settings=SETTINGS.model_copy(update={"rows": 60, "rounds": 5}), rows=400)
    assert found.better
    assert len(GOOD & set(found.best.prompt.instruction.split())) >= 3
    answers = {racer.candidate.key: [a.score for a in racer.answers] for racer in found.finals}
    best, start = answers[found.best.key], answers[found.start.key]
    assert found.margin is not None
    value, ci95 = found.margin
    assert value == pytest.approx((sum(best) - sum(start)) / len(best))
    assert ci95 == paired_interval(best, start)
    assert replace(found, best=found.start).margin is None


@pytest.mark.parametrize("instruction", [None, "Judge it."])
def test_a_search_begins_with_the_tasks_chat_and_its_system_message(
    instruction: str | None,
) -> None:
    spec = SPEC.model_copy(update={"chat": True, "system": "You judge films."})
    start = first_candidate(spec, instruction).prompt
    assert start.chat and start.system == spec.system and start.template == spec.template
    plain = first_candidate(SPEC, instruction).prompt
    assert not plain.chat and plain.instruction == start.instruction
    assert start.instruction.startswith(instruction or "Decide which of these fits: ")


def test_a_chat_that_produces_texts_begins_with_a_request_for_nothing_else() -> None:
    chat = TEXT_SPEC.model_copy(update={"chat": True})
    assert first_candidate(chat).prompt.instruction == "Reply with the answer only.\n\n"
    assert first_candidate(TEXT_SPEC).prompt.instruction == "Complete the last line.\n\n"


def test_a_budget_for_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="too small to compare prompts"):
        search("opro", budget=SearchBudget(calls=40))


def test_next_to_no_rows_are_refused() -> None:
    task = review_task(100)
    few = replace(task, train=task.train[:7], test=())
    calls = Calls(Journal(None, ""), NO_LIMITS)
    solver = LLMSolver(Asker(world(), calls), task.spec)
    with pytest.raises(ConfigError, match="too few rows for a search that means anything"):
        Search(few, START, SEARCHERS["grips"].make(), solver, calls, SETTINGS)


def test_a_model_that_fails_for_a_while_is_asked_again() -> None:
    plain, fails = world(), random.Random(0)

    def answer(request: LLMRequest) -> str:
        if fails.random() < 0.2:
            raise LLMError("the endpoint limits requests", unpaid=True)
        return plain._answer(request)

    assert told(search("opro", llm=ScriptedLLM(answer))) == told(search("opro"))


def test_a_model_that_never_answers_ends_the_search() -> None:
    def answer(request: LLMRequest) -> str:
        raise LLMError("the endpoint does not take the key", fatal=True, unpaid=True)

    llm = ScriptedLLM(answer)
    with pytest.raises(LLMError, match="does not take the key"):
        search("opro", llm=llm)
    assert len(llm.requests) <= llm.at_once


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        ("<prompt>Be brief.</prompt>", "Be brief."),
        ("Sure!\n<prompt>a</prompt> <PROMPT> Say it. </PROMPT>", "Say it."),
        ('Instruction: "Judge the text."', "Judge the text."),
        ("<prompt></prompt>", ""),
        ("<prompt>never closed", ""),
        ("", ""),
        ("x" * 501, ""),
    ],
)
def test_instructions_in_what_a_model_writes(text: str, instruction: str) -> None:
    assert instruction_in(text) == instruction


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Positive.", "positive"),
        ("**negative**", "negative"),
        ("not positive", "not positive"),
        ("The mood is negative", "negative"),
        ("negative or positive?", "negative"),
        ("it could be negative or positive", None),
        ("unpositively", None),
        ("", None),
        ("bad, at least", "negative"),
    ],
)
def test_labels_in_what_a_model_says(text: str, label: str | None) -> None:
    words = {**SPEC.words, "not positive": "not positive"}
    assert label_in(text, words) == label


def test_labels_that_only_signs_tell_apart() -> None:
    languages = {label: label for label in ("C", "C++", "C#", "+")}
    assert label_in("C++.", languages) == "C++" and label_in(" `c#` ", languages) == "C#"
    assert label_in("+", languages) == "+" and label_in("", languages) is None
    spec = SPEC.model_copy(update={"words": {"negative": "Same", "positive": "same."}})
    with pytest.raises(ConfigError, match="cannot tell these labels apart"):
        LLMSolver(Asker(world(), Calls(Journal(None, ""), NO_LIMITS)), spec)
