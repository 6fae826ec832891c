"""GEPA's own library as a searcher; what it shares with all searchers is tested there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import gepa
import pytest

from cuecard.errors import ConfigError, LLMError
from cuecard.llms.protocol import LLMAnswer, LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.found import Found
from cuecard.search.journal import Journal
from cuecard.search.loop import Search
from cuecard.search.searchers import SEARCHERS, at_hand
from cuecard.search.searchers.llm import gepa_library
from cuecard.search.searchers.llm.gepa_library import GEPALibrary
from cuecard.search.searchers.writing import instruction_of
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import Judged, LLMSolver
from cuecard.types import Record
from support.data.reviews import review_task
from support.scripted_search import NO_LIMITS, START, chance

TASK = replace(review_task(160), test=())
SETTINGS = SearchSettings(rows=20, proposals=4, rounds=3, finalists=2, block=10)
BETTER = "Say the mood."


def answers(request: LLMRequest) -> str:
    """Right half of the time, and mostly under the instruction that it writes when asked."""
    text = request.messages[-1].content
    if not text.rstrip().endswith("Sentiment:"):
        return f"Here it is:\n```\n{BETTER}\n```"
    targets = {
        record.texts["text"]: str(record.target) for record in [*TASK.train, *TASK.validation]
    }
    row = text.rpartition("Review: ")[2].split("\n")[0]
    right = targets[row]
    if chance(row) < 0.9 if BETTER in text else chance(text) < 0.5:
        return right
    return "negative" if right == "positive" else "positive"


def run(llm: ScriptedLLM, solver: type[LLMSolver] = LLMSolver) -> Found:
    calls = Calls(Journal(None, ""), NO_LIMITS)
    asker = Asker(llm, calls, wait=0.0)
    made = Search(
        TASK, START, GEPALibrary(), solver(asker, TASK.spec), calls, SETTINGS, asker=asker
    )
    return asyncio.run(made.run())


def reads(request: LLMRequest) -> bool:
    return "Provide the new instructions" in request.messages[-1].content


def test_what_it_finds_is_kept_and_its_request_is_the_librarys() -> None:
    llm = ScriptedLLM(answers)
    found = run(llm)
    assert instruction_of(found.best) == BETTER and 0.8 < found.finals[0].score < 1
    written = [request.messages[-1].content for request in llm.requests if reads(request)]
    assert written and all(START.prompt.instruction.strip() in text for text in written[:1])
    for part in ("## Inputs", "## Generated Outputs", "## Feedback", "The right output is: "):
        assert part in written[0]
    assert {event["passed"] for event in found.told} == {0, 1}


def test_a_later_round_asks_only_for_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, optimize = list[int](), gepa.optimize

    def counted(*args: Any, **options: Any) -> Any:
        heard, asked = list[str](), options["reflection_lm"]
        options["reflection_lm"] = lambda text: heard.append(asked(text)) or heard[-1]
        found = optimize(*args, **options)
        runs.append(len(heard))
        return found

    monkeypatch.setattr(gepa_library.gepa, "optimize", counted)
    llm = ScriptedLLM(answers)
    run(llm)
    assert runs == sorted(runs) and len(runs) == SETTINGS.rounds and runs[0] > 0
    assert sum(map(reads, llm.requests)) == runs[-1]
    assert len({request.sample for request in llm.requests if reads(request)}) == runs[-1]


def test_an_llm_that_fails_ends_it_though_the_library_would_go_on() -> None:
    def fails(request: LLMRequest) -> str:
        if reads(request):
            raise LLMError("the endpoint does not take the key", fatal=True, unpaid=True)
        return answers(request)

    llm = ScriptedLLM(fails)
    with pytest.raises(LLMError, match="does not take the key"):
        run(llm)
    assert sum(map(reads, llm.requests)) == 1


def test_nothing_is_asked_after_it_was_cancelled() -> None:
    class Stopping(ScriptedLLM):
        async def complete(self, request: LLMRequest) -> LLMAnswer:
            found = await super().complete(request)
            if reads(request):
                tasks[0].cancel()
            return found

    async def search() -> None:
        tasks.append(asyncio.current_task())
        calls = Calls(Journal(None, ""), SearchBudget())
        asker = Asker(llm, calls)
        solver = LLMSolver(asker, TASK.spec)
        await Search(TASK, START, GEPALibrary(), solver, calls, SETTINGS, asker=asker).run()

    llm, tasks = Stopping(answers), []
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(search())
    assert reads(llm.requests[-1])


def test_an_instruction_without_room_for_a_row_is_worth_nothing() -> None:
    class Narrow(LLMSolver):
        def most(self, candidate: PromptCandidate, records: list[Record]) -> Amount:
            if BETTER in candidate.prompt.instruction:
                raise ConfigError("the prompt leaves no room for a record")
            return super().most(candidate, records)

        async def judge(self, candidate: PromptCandidate, records: list[Record]) -> list[Judged]:
            assert BETTER not in candidate.prompt.instruction
            return await super().judge(candidate, records)

    found = run(ScriptedLLM(answers), Narrow)
    assert not found.better and {event["passed"] for event in found.told} == {0}


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SEARCHERS["gepa-library"].missing(at_hand(llm=True)) is None
    monkeypatch.setattr("cuecard.search.searchers.find_spec", lambda name: None)
    told = SEARCHERS["gepa-library"].missing(at_hand(llm=True))
    assert told == "GEPA's library (pip install 'cuecard[gepa]')"
