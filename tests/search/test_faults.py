"""A model that writes nonsense, or is another one of a sudden: a result, or what failed is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cuecard.errors import LLMError
from cuecard.llms.protocol import LLMAnswer, LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.journal import FILE, Journal
from cuecard.search.searchers import SEARCHERS
from cuecard.search.settings import SearchSettings
from support.scripted_search import START, search, world

SETTINGS = SearchSettings(rows=10, proposals=2, rounds=4, finalists=1, block=5)
ROWS = 40
WRITING = [name for name, entry in SEARCHERS.items() if "llm" in entry.needs]

NONSENSE = {
    "empty": "",
    "blank": " \n\n ",
    "an empty tag": "<prompt></prompt>",
    "an essay": "Certainly! " + "Here is what I think about instructions. " * 20,
    "markup": "<instruction>Judge.</instruction>",
    "JSON that was cut off": '{"instruction": "Judge the rev',
    "a refusal": "I'm sorry, but I can't help with that.",
    "a list": '["Judge", "the"',
}


def writer_of(text: str) -> ScriptedLLM:
    """Answers reviews as ever, and writes the same whatever it is asked."""
    solves = world()._answer

    def answer(request: LLMRequest) -> str:
        solving = request.messages[-1].content.rstrip().endswith("Sentiment:")
        return solves(request) if solving else text

    return ScriptedLLM(answer)


@pytest.mark.parametrize("name", WRITING)
def test_what_cannot_be_used_is_said_and_never_becomes_a_prompt(name: str) -> None:
    # GEPA's own instructions may be as long as an essay.
    faults = {k: v for k, v in NONSENSE.items() if (name, k) != ("gepa-library", "an essay")}
    for fault, text in faults.items():
        found = search(name, llm=writer_of(text), settings=SETTINGS, rows=ROWS)
        told = [event for event in found.told if event["event"] == "unusable"]
        assert told and told[0]["example"] == text[:200], fault
        # Demonstrations may have been found all the same.
        texts = {racer.candidate.prompt.instruction for racer in found.ranked}
        assert texts == {START.prompt.instruction}, fault
        assert found.ended == "nothing new in 3 rounds" or found.rounds == SETTINGS.rounds


@pytest.mark.parametrize("name", [*WRITING, "auto", "demonstrations"])
def test_another_model_than_before_ends_the_search(name: str, tmp_path: Path) -> None:
    class Changing(ScriptedLLM):
        async def complete(self, request: LLMRequest) -> LLMAnswer:
            found = await super().complete(request)
            return replace(found, model="newer") if len(self.requests) > 40 else found

    llm = Changing(world()._answer)
    with pytest.raises(LLMError, match="another model answers than before") as caught:
        search(name, tmp_path, llm, settings=SETTINGS, rows=ROWS)
    assert caught.value.got == "newer" and caught.value.expected == "scripted"
    # What was paid is in the journal; what was asked at the same time is all there is more.
    answers = Journal(tmp_path / FILE, name).answers.values()
    written = [each for each in answers if isinstance(each, dict) and "text" in each]
    assert len(written) == len(llm.requests) <= 40 + llm.at_once


@pytest.mark.parametrize("name", [*WRITING, "auto"])
def test_a_solver_that_falls_silent_leaves_the_start(name: str) -> None:
    answers, solved = world()._answer, list[str]()

    def answer(request: LLMRequest) -> str:
        text = request.messages[-1].content.rstrip()
        if not text.endswith("Sentiment:"):
            return answers(request)
        solved.append(text)
        return answers(request) if len(solved) <= 18 else ""  # those of the start

    found = search(name, llm=ScriptedLLM(answer), settings=SETTINGS, rows=ROWS)
    assert not found.better and found.finals[0].score > 0 and len(solved) > 18
