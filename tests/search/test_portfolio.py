"""The portfolio: who has turns, who is left out, and what it is held to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.llms.protocol import LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search import searchers
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.found import Found
from cuecard.search.journal import Journal
from cuecard.search.loop import Search
from cuecard.search.searcher import Searcher, SearchState
from cuecard.search.searchers import portfolio
from cuecard.search.searchers.writing import with_instruction
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import LLMSolver
from support.data.reviews import review_task

START = PromptCandidate(ManualPrompt("start", "Review: {text}\nSentiment:", "0 points.\n\n"))


def solver(request: LLMRequest) -> str:
    """Right on as many rows of a hundred as the prompt's first number says, plus 40."""
    ahead, _, own = request.messages[-1].content.rpartition("Review:")
    good = int(own.split()[-2])  # a review ends in its number
    right = "positive" if good % 2 else "negative"
    wrong = "negative" if good % 2 else "positive"
    return right if (good * 37) % 100 < 40 + int(ahead.split()[0]) else wrong


class Climber:
    """Proposes prompts that are better by so much than the best one, for a number of turns."""

    def __init__(self, name: str, step: int, turns: int = 99, proposals: int = 99) -> None:
        self.name, self.step, self.turns, self.proposals = name, step, turns, proposals

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        now = int(state.best.prompt.instruction.split()[0])
        step = self.step if state.round < self.turns else 0
        texts = [
            f"{now + step} points. {self.name} {state.round} {n}"
            for n in range(min(count, self.proposals))
        ]
        return [with_instruction(state.start, text, self.name) for text in texts]


class Refusing:
    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        raise ConfigError("this backbone has no gradients")


def run(
    monkeypatch: pytest.MonkeyPatch, made: Mapping[str, Callable[[], Searcher]], rounds: int
) -> Found:
    class Entry(searchers.SearcherEntry):
        def make(self) -> Searcher:
            return made[self.home[0]]()

    entries = {name: Entry((name, ""), ("llm",) if name == "asks" else ()) for name in made}
    monkeypatch.setattr(portfolio, "SEARCHERS", MappingProxyType(entries))
    task = replace(review_task(160), test=())
    calls = Calls(Journal(None, ""), SearchBudget())
    answers = LLMSolver(Asker(ScriptedLLM(solver), calls), task.spec)
    settings = SearchSettings(rows=40, proposals=4, rounds=rounds, finalists=1, block=20)
    search = Search(task, START, portfolio.Portfolio(), answers, calls, settings)
    return asyncio.run(search.run())


def turns(found: Found) -> list[str]:
    return [event["searcher"] for event in found.told if event["event"] == "turn"]


def test_the_budget_goes_to_who_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        "idle": lambda: Climber("idle", 0),
        "steep": lambda: Climber("steep", 5),
        "worse": lambda: Climber("worse", -5),
    }
    found = run(monkeypatch, made, 13)
    order = turns(found)
    assert order[:3] == ["idle", "steep", "worse"]  # each once, half as many candidates
    assert Counter(order)["steep"] >= 10
    assert int(found.best.prompt.instruction.split()[0]) >= 25


def test_who_has_run_dry_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        "early": lambda: Climber("early", 10, turns=2),
        "late": lambda: Climber("late", 0),
        "third": lambda: Climber("third", 0),
    }
    order = turns(run(monkeypatch, made, 24))
    assert Counter(order[3:9])["early"] >= 4
    assert {"late", "third"} <= set(order[9:])


def test_who_is_impossible_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Callable[[], Searcher]] = {
        "asks": lambda: Climber("asks", 9),
        "refusing": Refusing,
        "empty": lambda: Climber("empty", 9, proposals=0),
        "works": lambda: Climber("works", 5),
    }
    found = run(monkeypatch, made, 4)
    assert turns(found) == ["works"] * 4 and found.ended == "4 rounds"
    out: dict[str, Any] = {}
    for event in found.told:
        out |= event["searchers"] if event["event"] == "left out" else {}
    assert out == {
        "asks": "needs an LLM that writes (--llm)",
        "refusing": "this backbone has no gradients",
    }
    assert searchers.left_out({"a": "x", "b": "y", "c": "x"}) == "a, c (x), b (y)"
