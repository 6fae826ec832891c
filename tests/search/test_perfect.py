"""Searches that find a prompt with the full score: they end there, and ask for nothing more."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.llms.protocol import LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search import searchers
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.found import Found
from cuecard.search.journal import FILE, Journal
from cuecard.search.loop import Search
from cuecard.search.searcher import Searcher, SearchState
from cuecard.search.searchers import portfolio
from cuecard.search.searchers.writing import with_instruction
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import LLMSolver
from support.data.reviews import review_task

TASK = replace(review_task(60), test=())
SETTINGS = SearchSettings(rows=20, proposals=2, rounds=6, finalists=2, block=10)
HELD = {record.texts["text"] for record in TASK.validation}
RACED = len(TASK.train) // 2
NO_LIMITS = SearchBudget()
FULL = f"full score on all {RACED} training rows and {len(HELD)} validation rows"


def start(text: str = "one right in 3") -> PromptCandidate:
    return PromptCandidate(ManualPrompt("start", "Review: {text}\nSentiment:", f"{text}\n\n"))


def reader(request: LLMRequest) -> str:
    """Right on one row of so many, as the prompt's last number says; `unseen` gets one wrong of
    the validation rows."""
    ahead, _, own = request.messages[-1].content.rpartition("Review: ")
    text = own.split("\n")[0]
    every = int(re.findall(r"\d+", ahead)[-1])
    good = int(text.split()[-1])  # a review ends in its number
    right = good % every == 0 and not ("unseen" in ahead and text == min(HELD))
    return "positive" if (good % 2 == 1) == right else "negative"


class Rising:
    """Proposes what is right more often in each round, and all right from a round on.

    Args:
        full: the first round whose first proposal is right on all rows.
        unseen: rounds from that one on in which it is wrong on a validation row.
    """

    def __init__(self, full: int, unseen: int = 0) -> None:
        self.full, self.unseen = full, unseen

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        late = state.round - self.full
        word = "unseen" if 0 <= late < self.unseen else "seen"
        texts = [
            f"{word} {state.round} {number} one right in {2 if number or late < 0 else 1}"
            for number in range(count)
        ]
        return [with_instruction(state.start, text, text) for text in texts]


def search(
    searcher: Searcher,
    llm: ScriptedLLM | None = None,
    folder: Path | None = None,
    first: PromptCandidate | None = None,
    budget: SearchBudget = NO_LIMITS,
    settings: SearchSettings = SETTINGS,
) -> Found:
    calls = Calls(Journal(None if folder is None else folder / FILE, "x"), budget)
    asker = Asker(llm or ScriptedLLM(reader), calls, wait=0.0)
    solver = LLMSolver(asker, TASK.spec)
    made = Search(TASK, first or start(), searcher, solver, calls, settings, asker=asker)
    return asyncio.run(made.run())


def asked(llm: ScriptedLLM) -> list[tuple[str, str]]:
    """Each request's instruction and row."""
    parts = [each.messages[-1].content.rpartition("Review: ") for each in llm.requests]
    return [(ahead.strip(), own.split("\n")[0]) for ahead, _, own in parts]


def told(found: Found) -> Any:
    ranked = [(racer.candidate.key, racer.score) for racer in found.ranked]
    finals = [(racer.candidate.key, racer.score) for racer in found.finals]
    return found.best.key, ranked, finals, found.rounds, found.ended, found.told


def test_a_search_ends_with_the_round_that_finds_the_full_score() -> None:
    llm = ScriptedLLM(reader)
    found = search(Rising(full=2), llm)
    assert (found.rounds, found.ended) == (3, FULL)
    assert found.best.origin == "seen 2 0 one right in 1"
    assert [racer.score for racer in found.finals] == [1.0, found.finals[1].score]
    # Beside it, only the prompt as it was has answered validation rows.
    rows = Counter(text for text, row in asked(llm) if row in HELD)
    assert rows == {start().prompt.instruction.strip(): len(HELD), found.best.origin: len(HELD)}
    assert {text for text, _ in asked(llm)[-len(HELD) :]} == {found.best.origin}
    longer = ScriptedLLM(reader)
    other = search(Rising(full=99), longer)
    assert other.ended == "6 rounds" and len(longer.requests) > len(llm.requests)
    assert len(other.finals) == 3


def test_a_start_with_the_full_score_is_kept_and_nothing_else_asked() -> None:
    llm, first = ScriptedLLM(reader), start("one right in 1")
    found = search(Rising(full=0), llm, first=first)
    assert (found.rounds, found.ended, found.best.key) == (0, FULL, first.key)
    assert not found.better and len(llm.requests) == RACED + len(HELD)


def test_the_full_score_on_raced_rows_alone_ends_nothing() -> None:
    found = search(Rising(full=1, unseen=1))
    assert (found.rounds, found.ended) == (3, FULL)
    assert found.best.origin == "seen 2 0 one right in 1"
    # No more of them are tried on validation rows than there are finalists, which they are.
    llm = ScriptedLLM(reader)
    found = search(Rising(full=0, unseen=9), llm)
    assert found.ended == "6 rounds" and found.best.origin.startswith("unseen")
    tried = {text for text, row in asked(llm) if row in HELD}
    assert len(tried) == len(found.finals) == 1 + SETTINGS.finalists


def test_a_budget_without_room_for_these_rows_ends_the_search(tmp_path: Path) -> None:
    whole, held = search(Rising(full=0)), SETTINGS.finalists * len(HELD)
    # All but a call of what the validation rows take beside those that are set aside.
    most = whole.spent.calls + held - 1
    llm, budget = ScriptedLLM(reader), SearchBudget(calls=most)
    found = search(Rising(full=0), llm, tmp_path, budget=budget)
    assert (found.rounds, found.ended) == (1, "the budget of calls is spent")
    assert found.best.key == whole.best.key and found.spent.calls <= most
    silent = ScriptedLLM(reader)
    again = search(Rising(full=0), silent, tmp_path, budget=budget)
    assert told(again) == told(found) and not silent.requests


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("seed", range(4))
def test_a_search_that_was_killed_ends_as_it_would_have(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"first": lambda: Rising(full=2, unseen=1), "second": lambda: Rising(full=3)}

    class Entry(searchers.SearcherEntry):
        def make(self) -> Searcher:
            return made[self.home[0]]()

    entries = {name: Entry((name, "")) for name in made}
    monkeypatch.setattr(portfolio, "SEARCHERS", MappingProxyType(entries))
    settings = SETTINGS.model_copy(update={"rounds": 12})
    whole, paid = ScriptedLLM(reader), ScriptedLLM(reader)
    wanted = search(portfolio.Portfolio(), whole, settings=settings)
    assert wanted.ended == FULL and wanted.rounds > 4
    draw, kills, found = random.Random(seed), 0, None
    while found is None:
        left = draw.randrange(10, 60)

        def answer(request: LLMRequest) -> str:
            nonlocal left
            left -= 1
            if left < 0:
                paid.requests.pop()  # it was not answered
                raise Killed
            return reader(request)

        paid._answer = answer
        try:
            found = search(portfolio.Portfolio(), paid, tmp_path, settings=settings)
        except Killed:
            kills += 1
    assert kills and told(found) == told(wanted)
    assert len(set(asked(paid))) == len(asked(paid))
    silent = ScriptedLLM(reader)
    again = search(portfolio.Portfolio(), silent, tmp_path, settings=settings)
    assert told(again) == told(wanted) and not silent.requests
