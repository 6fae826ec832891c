"""What is CAPO's, MIPRO's and GEPA's own; what they share with all searchers is tested there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.llms.protocol import LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.asker import Asker
from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.journal import Journal
from cuecard.search.loop import Search
from cuecard.search.race import Racer
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.llm.capo import CAPO, population
from cuecard.search.searchers.llm.gepa import GEPA, copies, is_better, pareto_front
from cuecard.search.searchers.llm.mipro import MIPRO
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import Judged, LLMSolver
from cuecard.types import Record
from support.data.reviews import review_task

START = PromptCandidate(ManualPrompt("start", "Review: {text}\nSentiment:", "Judge it.\n\n"))
TASK = replace(review_task(160), test=())


def racer(name: str, scores: str, instruction: str = "", shown: Sequence[Record] = ()) -> Racer:
    prompt = ManualPrompt(name, "{text}", instruction or name, demonstrations=tuple(shown))
    return Racer(PromptCandidate(prompt, name), [Judged("", float(score)) for score in scores])


def first_state(llm: ScriptedLLM) -> SearchState:
    """What a searcher sees in a search's first round."""
    states: list[SearchState] = []

    class Watching:
        async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
            states.append(state)
            return []

    calls = Calls(Journal(None, ""), SearchBudget())
    asker = Asker(llm, calls)
    solver = LLMSolver(asker, TASK.spec)
    settings = SearchSettings(rows=20)
    asyncio.run(Search(TASK, START, Watching(), solver, calls, settings, asker=asker).run())
    llm.requests.clear()
    return states[0]


def answers_with(text: str, right: str = "positive") -> ScriptedLLM:
    """Writes one text; as a solver always says the same."""

    def answer(request: LLMRequest) -> str:
        asked = request.messages[-1].content
        return right if asked.rstrip().endswith("Sentiment:") else text

    return ScriptedLLM(answer)


def test_a_change_that_does_nothing_seldom_passes() -> None:
    rng = np.random.default_rng(0)

    def passed(before: float, after: float) -> float:
        def drawn(share: float) -> list[Judged]:
            return [Judged("", float(value)) for value in rng.random(30) < share]

        return float(np.mean([is_better(drawn(after), drawn(before)) for _ in range(300)]))

    assert passed(0.5, 0.5) <= 0.2 and passed(0.9, 0.9) <= 0.2
    assert passed(0.4, 0.8) > 0.9


def test_the_front_has_those_that_are_best_somewhere() -> None:
    ranked = [
        racer("both", "11010"),
        racer("other", "00100"),
        racer("less", "10000"),
        racer("none", "00000"),
        racer("dropped out", "1111"),
    ]
    assert [(r.candidate.origin, n) for r, n in pareto_front(ranked)] == [("both", 3), ("other", 1)]
    (only,) = pareto_front([racer("a", "000"), racer("b", "000")])
    assert only[1] == 1


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("Say whether the film is good.", False),
        ("Answer bad to 'a b c d e f g h', and so on.", True),
        ("a b c d e f g is not enough", False),
        ("Is it a SHORT, dull film?", True),
        ("Is it short, dull?", False),
    ],
)
def test_instructions_that_repeat_a_record(text: str, copied: bool) -> None:
    values = ("a b c d e f g h i j", "a short dull film", "the film")
    assert copies(text, [Record({"text": each}, "x", "f", 1) for each in values]) == copied


def test_an_llm_reads_failures_and_is_tested_on_other_rows() -> None:
    llm = answers_with("It is vague. <prompt>Say the mood.</prompt>", right="good")
    state, events = first_state(llm), list[dict[str, Any]]()
    found = asyncio.run(GEPA().propose(replace(state, tell=events.append), 2))
    # An answer that is never better passes no test.
    assert found == [] and {event["passed"] for event in events} == {0} and len(events) == 3
    asked = [request.messages[-1].content for request in llm.requests]
    reflections = [text for text in asked if "answered these inputs wrongly" in text]
    assert len(reflections) == 6
    wrong = {r.texts["text"] for r in state.train if r.target == "negative"}
    for text in reflections:
        read = {line.removeprefix("Input: ") for line in text.split("\n") if "Input: " in line}
        assert 0 < len(read) <= 4 and read <= wrong
        assert "The model's output: positive" in text and "The right output: bad" in text


def test_capo_charges_for_length_and_mixes_demonstrations() -> None:
    state = first_state(answers_with("<prompt>Merged.</prompt>"))
    shown = state.train[:4]
    ranked = [
        racer("long", "1111111110", "x" * 2000),
        racer("short", "1111111010", "y", shown[:2]),
        racer("far", "1111000000", "z", shown[2:]),
        racer("dropped out", "11111", "w"),
    ]
    order = [r.candidate.origin for r in population(replace(state, ranked=ranked))]
    assert order == ["long", "short", "far", "dropped out"]
    ranked[0].answers[8] = Judged("", 0.3)  # four points ahead, five of charge
    order = [r.candidate.origin for r in population(replace(state, ranked=ranked))]
    assert order == ["short", "long", "far", "dropped out"]
    found = asyncio.run(CAPO().propose(replace(state, ranked=ranked[1:3], round=1), 40))
    assert {each.prompt.instruction for each in found} == {"Merged.\n\n"}
    counts = {len(each.prompt.demonstrations) for each in found}
    assert counts == {1, 2, 3}  # two on average, and one less or more
    parents = {id(record) for record in shown}
    two = [each.prompt.demonstrations for each in found if len(each.prompt.demonstrations) == 2]
    assert all({id(record) for record in each} <= parents for each in two)
    assert len({tuple(map(id, each)) for each in two}) > 4


def test_the_estimator_goes_where_scores_are_high() -> None:
    texts = [f"Number {number}." for number in range(8)]

    def write(request: LLMRequest) -> str:
        asked = request.messages[-1].content
        if "Say in two or three sentences" in asked or asked.rstrip().endswith("Sentiment:"):
            return "Reviews are good."
        return f"<prompt>{texts[request.sample]}</prompt>"

    def worth(prompt: ManualPrompt) -> float:
        return 0.3 + 0.4 * ("3" in prompt.instruction) + 0.2 * (len(prompt.demonstrations) > 3)

    state, searcher = first_state(ScriptedLLM(write)), MIPRO()
    ranked, rounds = list(state.ranked), []
    for number in range(5):
        now = replace(state, ranked=ranked, round=number, rng=np.random.default_rng(number))
        found = asyncio.run(searcher.propose(now, 8))
        rounds.append([worth(each.prompt) for each in found])
        ranked += [Racer(each, [Judged("", worth(each.prompt))] * 20) for each in found]
    assert len({each.candidate.key for each in ranked}) == len(ranked) == 1 + 5 * 8
    # By chance it is 0.4 on average; later what is good is used up.
    assert np.mean(rounds[1:4]) > 0.48
