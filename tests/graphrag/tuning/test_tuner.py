"""What prompts are made of is asked of an LLM: in few calls, each a chat of its own, paid once."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import DataError, LLMError
from cuecard.graphrag.chunks import Chunk, EstimatedTokens, count
from cuecard.graphrag.gold import GoldText, TextSet
from cuecard.graphrag.project.project import TYPES as GRAPHRAGS_OWN
from cuecard.graphrag.prompts.dialects import DIALECTS, PromptLimits
from cuecard.graphrag.prompts.sources import CorpusProfile
from cuecard.graphrag.records import Entity, Extraction, Relation
from cuecard.graphrag.selection import select
from cuecard.graphrag.tuning.settings import TuneSettings
from cuecard.graphrag.tuning.tuner import TunedSources, Tuner
from cuecard.llms.prices import Price
from cuecard.llms.protocol import LLMAnswer, LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.asker import Asker, request_key
from cuecard.search.budget import BudgetSpent, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import digest
from cuecard.search.journal import Journal
from support import scripted_graphrag as script
from support.scripted_graphrag import PROFILE, chunks, is_repair, kind_of, text_of

SIZES = (1, 2, 14, 300)
PRICE = Price(1.0, 2.0)
NO_LIMITS = SearchBudget()


def tuner(
    llm: ScriptedLLM,
    journal: Path | None = None,
    budget: SearchBudget = NO_LIMITS,
    tell: Callable[[dict[str, Any]], None] = lambda event: None,
    gold: TextSet | None = None,
    **settings: Any,
) -> Tuner:
    asker = Asker(llm, Calls(Journal(journal, "tune"), budget), PRICE, wait=0.0)
    return Tuner(asker, TuneSettings(**settings), EstimatedTokens(), tell, gold)


def tuned(llm: ScriptedLLM, found: list[Chunk], **more: Any) -> TunedSources:
    return asyncio.run(tuner(llm, **more).run(found))


def sample(size: int, seed: int = 0) -> list[Chunk]:
    return list(select(chunks(size), "random", 15, seed).chunks)


@pytest.mark.parametrize("size", SIZES)
def test_corpora_of_any_size(size: int) -> None:
    llm = ScriptedLLM(script.answer)
    found = tuned(llm, sample(size))
    assert found.sources.profile == CorpusProfile(**PROFILE)
    assert [each.what for each in found.problems] == ([f"{size} of 3 could be had"] * (size < 3))
    assert len(found.sources.examples) == min(3, size)
    assert set(found.sources.types) <= {"ship", "person", "port"} and found.types[0].answers
    groups = -(-min(15, size) // 5)
    assert Counter(map(kind_of, llm.requests)) == {
        "profile": 1,
        "types": groups,
        "example": min(6, size),
    }
    assert found.asked == len(llm.requests) and found.repaired == 0
    counts = {each.name: each.entities for each in found.types}
    types = [each.type for one in found.sources.examples for each in one.extraction.entities]
    assert types and all(counts[name] == types.count(name) for name in counts)


def test_every_example_is_a_chat_of_its_own_and_has_its_own_answer() -> None:
    llm = ScriptedLLM(script.answer)
    found = tuned(llm, sample(300), examples=5, types=("ship", "person"))
    asked = [each for each in llm.requests if kind_of(each) == "example"]
    assert len(asked) == 10 == len({text_of(each) for each in asked})
    for request in asked:
        assert [each.role for each in request.messages] == ["system", "user"]
        assert request.messages[0].content == PROFILE["persona"]
        assert sum(text_of(other) in request.messages[-1].content for other in asked) == 1
    for example in found.sources.examples:
        expected = [each["name"] for each in script.extraction(example.text)["entities"]]
        assert [each.name for each in example.extraction.entities] == expected
        assert expected and example.extraction.relations


def test_the_more_telling_of_twice_as_many_chunks_are_shown() -> None:
    """Those with a type that is not shown yet, then those with relations and more entities."""
    texts = [
        "Ann sails.",
        "Bo sails. Nowhere is named.",
        "Ann Lee sails with Bo Berg to Amsel.",
        "The Aurora sails.",
    ]
    names = [["Ann"], ["Bo", "Nowhere"], ["Ann Lee", "Bo Berg"], ["Aurora"]]
    pairs = [[], [], [("Ann Lee", "Bo Berg")], []]

    def answer(request: LLMRequest) -> str:
        if kind_of(request) != "example":
            return script.answer(request)
        number = texts.index(text_of(request))
        entities = [
            {"name": each, "type": "ship" if each == "Aurora" else "person", "description": "d"}
            for each in [*names[number], "Atlantis"]
        ]
        related = [
            {"source": one, "target": other, "description": "d", "weight": 1}
            for one, other in pairs[number]
        ]
        return json.dumps({"entities": entities, "relationships": related})

    found = [Chunk("a.txt", number, text, 9) for number, text in enumerate(texts, 1)]
    made = tuned(ScriptedLLM(answer), found, types=("ship", "person"), examples=2)
    assert [each.text for each in made.sources.examples] == [texts[2], texts[3]]
    # What is wrong with the others' answers is nobody's concern.
    assert [each.about for each in made.problems] == [
        f"example of {each.source}" for each in made.sources.examples
    ]


def test_requests_stay_within_their_tokens() -> None:
    long = [Chunk("a.txt", number, "One two three four five. " * 400, 2400) for number in range(15)]
    llm = ScriptedLLM(lambda request: "no")
    with pytest.raises(DataError):
        tuned(llm, long, call_tokens=600, example_tokens=50)
    for request in llm.requests:
        text = request.messages[0 if kind_of(request) == "profile" else 1].content
        own = text.count("One") * 6  # tokens of the corpus
        assert 0 < own <= {"profile": 600, "types": 600, "example": 50}[kind_of(request)]
    assert {kind_of(each) for each in llm.requests} == {"profile", "types", "example"}


def test_given_words_are_taken_and_given_types_are_not_asked_for() -> None:
    llm = ScriptedLLM(script.answer)
    found = tuned(llm, sample(14), domain="Seas", language="Dansk", types=("Person", "ship"))
    profile = found.sources.profile
    assert (profile.domain, profile.language) == ("Seas", "Dansk")
    assert "(it is: Seas)" in llm.requests[0].messages[-1].content
    assert found.sources.types == ("Person", "ship")
    assert all(kind_of(each) != "types" for each in llm.requests)
    types = {each.type for one in found.sources.examples for each in one.extraction.entities}
    assert types == {"Person", "ship"}
    both = tuned(ScriptedLLM(script.answer), sample(14), types=("crew", "person"), find_types=True)
    assert both.sources.types[:2] == ("crew", "person") and "ship" in both.sources.types


def solved(text: str, *names: tuple[str, str], row: int = 1) -> GoldText:
    entities = tuple(Entity(name, kind, "") for name, kind in names)
    relations = tuple(
        Relation(entities[0].name, each.name, "", 1.0, "sails on") for each in entities[1:]
    )
    return GoldText(text, Extraction(entities, relations), row, f"doc{row}")


SOLVED = TextSet(
    "gold.jsonl",
    (
        solved("Ann Lee rests.", ("Ann Lee", "Person"), row=1),
        solved("The Aurora and Ann Lee.", ("Aurora", "Ship"), ("Ann Lee", "Person"), row=2),
        solved("Bo Berg was in Tarn, " * 9, ("Bo Berg", "Person"), ("Tarn", "Port"), row=3),
        solved("Caro of Tarn.", ("Tarn", "Port"), ("Caro", "Person"), ("Tarn", "Port"), row=4),
        solved("Nothing is here.", row=5),
    ),
)


def test_gold_gives_types_and_examples_and_the_profile_alone_is_asked_for() -> None:
    llm = ScriptedLLM(script.answer)
    found = tuned(llm, sample(14), gold=SOLVED, example_tokens=20)
    assert [kind_of(each) for each in llm.requests] == ["profile"]
    assert found.sources.types == ("Person", "Ship", "Port")
    examples = found.sources.examples
    # Both of the two that show two types, before the one that shows one; none that is cut.
    assert {each.source for each in examples[:2]} == {"doc2, line 2", "doc4, line 4"}
    assert [each.source for each in examples[2:]] == ["doc1, line 1"]
    assert all(each.description for one in examples for each in one.extraction.entities)
    twice = next(each for each in examples if each.source == "doc4, line 4")
    assert [each.name for each in twice.extraction.entities] == ["Tarn", "Caro"]
    again = tuned(ScriptedLLM(script.answer), sample(14), gold=SOLVED, example_tokens=20)
    assert again.sources == found.sources
    parts = tuner(llm, gold=SOLVED).costs(sample(14))
    assert [each.name for each in parts] == ["profile", "repairs"]


def test_of_gold_only_the_wanted_types_are_shown() -> None:
    found = tuned(ScriptedLLM(script.answer), sample(14), gold=SOLVED, types=("port", "person"))
    entities = [each for one in found.sources.examples for each in one.extraction.entities]
    assert {each.type for each in entities} == {"port", "person"}
    assert not any(one.extraction.relations for one in found.sources.examples if "Au" in one.text)
    with pytest.raises(DataError, match="no text of the gold set can be an example"):
        tuned(ScriptedLLM(script.answer), sample(14), gold=SOLVED, types=("crew",))


def test_an_answer_that_cannot_be_read_is_asked_for_once_more() -> None:
    def answer(request: LLMRequest) -> str:
        return script.answer(request) if is_repair(request) else f"Sure! {script.answer(request)}"

    events: list[dict[str, Any]] = []
    llm = ScriptedLLM(answer)
    found = tuned(llm, sample(14), tell=events.append)
    assert found.problems == () and found.repaired == found.asked / 2
    repair = next(each for each in llm.requests if is_repair(each))
    assert repair.messages[-2].content.startswith("Sure! {")
    assert "not one JSON object" in repair.messages[-1].content
    assert [each["event"] for each in events] == ["profile", "types", "examples"]
    assert len(found.sources.examples) == 3


@pytest.mark.parametrize("nonsense", ["", "   ", "As an AI I cannot.", "{}", "[1, 2]", "null"])
def test_a_model_that_answers_nonsense_makes_no_prompts(nonsense: str) -> None:
    llm, events = ScriptedLLM(lambda request: nonsense), list[dict[str, Any]]()
    with pytest.raises(DataError, match="no example could be read"):
        tuned(llm, sample(14), tell=events.append)
    # Each chunk was tried, each once more, and each is told.
    told = [each["about"] for each in events if each["event"] == "problem"]
    assert sum(each.startswith("example of") for each in told) == 14
    assert "profile" in told and "types, group 1" in told
    assert Counter(map(kind_of, llm.requests))["example"] == 28


def test_without_examples_general_words_stand_for_what_cannot_be_read() -> None:
    found = tuned(ScriptedLLM(lambda request: "?"), sample(2), examples=0)
    assert found.sources.profile == CorpusProfile() and found.sources.types == GRAPHRAGS_OWN
    about = [each.about for each in found.problems]
    assert about == ["profile", "profile", "types, group 1", "types"]
    assert found.problems[0].answer == "?"


def test_other_chunks_stand_in_for_those_that_cannot_be_read() -> None:
    found = sample(14)
    bad = {each.text for each in found[:5]}

    def answer(request: LLMRequest) -> str:
        wrong = kind_of(request) == "example" and text_of(request) in bad
        return "no" if wrong else script.answer(request)

    made = tuned(ScriptedLLM(answer), found)
    assert len(made.sources.examples) == 3
    assert {each.text for each in made.sources.examples}.isdisjoint(bad)
    assert [each.about for each in made.problems] == [f"example of {x.name}" for x in found[:5]]


def test_a_model_that_stops_in_the_middle_is_told_so() -> None:
    def answer(request: LLMRequest) -> str:
        long = kind_of(request) == "example" and not is_repair(request)
        return script.answer(request) + (" " * 9999 if long else "")  # cut to its tokens

    llm = ScriptedLLM(answer)
    made = tuned(llm, sample(14))
    assert made.repaired == 6 and made.problems == ()
    repair = next(each for each in llm.requests if is_repair(each))
    assert "cut off" in repair.messages[-1].content


def test_what_an_answer_has_beside_the_text_is_left_out_and_told() -> None:
    def answer(request: LLMRequest) -> str:
        found = json.loads(script.answer(request))
        if kind_of(request) == "example":
            found["entities"].append({"name": "Atlantis", "type": "ship", "description": "d"})
        return json.dumps(found)

    made = tuned(ScriptedLLM(answer), sample(14), types=("ship", "person"))
    assert len(made.sources.examples) == 3
    assert [each.what for each in made.problems] == ["left out: 'Atlantis' is not in the text"] * 3


def test_the_budget_holds_and_what_was_answered_is_kept(tmp_path: Path) -> None:
    first = ScriptedLLM(script.answer)
    with pytest.raises(BudgetSpent):
        tuned(first, sample(14), journal=tmp_path / "j", budget=SearchBudget(calls=3))
    assert len(first.requests) == 3
    second = ScriptedLLM(script.answer)
    found = tuned(second, sample(14), journal=tmp_path / "j")
    assert len(first.requests) + len(second.requests) == found.asked
    keys = [digest(asdict(each)) for each in (*first.requests, *second.requests)]
    assert len(set(keys)) == len(keys)
    assert found == tuned(ScriptedLLM(script.answer), sample(14))


def test_an_endpoint_that_fails_ends_it_and_the_rest_is_asked_later(tmp_path: Path) -> None:
    def broken(request: LLMRequest) -> str:
        if kind_of(request) == "example":
            raise LLMError("the endpoint failed", fatal=True, unpaid=True)
        return script.answer(request)

    first, second = ScriptedLLM(broken), ScriptedLLM(script.answer)
    with pytest.raises(LLMError):
        tuned(first, sample(14), journal=tmp_path / "j")
    found = tuned(second, sample(14), journal=tmp_path / "j")
    assert {kind_of(each) for each in second.requests} == {"example"}
    assert found == tuned(ScriptedLLM(script.answer), sample(14))


@pytest.mark.parametrize("size", SIZES)
def test_costs_are_never_below_what_it_takes(size: int) -> None:
    found = sample(size)
    parts = {each.name: each.most for each in tuner(ScriptedLLM(script.answer)).costs(found)}
    calls = Calls(Journal(None, ""), NO_LIMITS)
    asker = Asker(ScriptedLLM(script.answer), calls, PRICE)
    asyncio.run(Tuner(asker, TuneSettings(), EstimatedTokens()).run(found))
    spent = calls.ledger.spent
    asked = parts["profile"] + parts["types"] + parts["examples"]
    assert spent.calls == asked.calls == parts["repairs"].calls
    assert spent.tokens <= asked.tokens and spent.money <= asked.money
    own = tuner(ScriptedLLM(script.answer), types=("ship",)).costs(found)
    assert [each.name for each in own] == ["profile", "examples", "repairs"]


class Killed(BaseException):
    """The process ends here."""


class Death:
    """Comes after so many moments; from then on nothing is done."""

    def __init__(self, moments: int) -> None:
        self._left = moments

    def may_come(self, *_: object) -> None:
        self._left -= 1
        if self._left <= 0:
            raise Killed


class MortalLLM(ScriptedLLM):
    """Answers and is paid, while the process lives."""

    def __init__(self, death: Death, paid: list[str]) -> None:
        super().__init__(script.answer)
        self._death, self._paid = death, paid

    async def complete(self, request: LLMRequest) -> LLMAnswer:
        self._death.may_come()
        found = await super().complete(request)
        self._paid.append(request_key(self.name, request))
        self._death.may_come()
        return found


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_tuning_goes_on_and_pays_for_no_answer_twice(seed: int, tmp_path: Path) -> None:
    """Killed again and again, in a call or while a line is written, until it ends."""
    draw, journal, chosen = random.Random(seed), tmp_path / "j", sample(14)
    for _ in range(200):
        kept = set(Journal(journal, "tune").answers)
        death, paid = Death(draw.randrange(2, 14)), list[str]()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", death.may_come)
            try:
                found = tuned(MortalLLM(death, paid), chosen, journal=journal)
            except Killed:
                line = journal.read_bytes()[journal.read_bytes().rfind(b"\n", 0, -1) + 1 :]
                if b'"asked"' in line:  # only a line that no answer is in may be there in part
                    os.truncate(journal, journal.stat().st_size - draw.randrange(len(line)))
                found = None
        assert kept.isdisjoint(paid) and len(set(paid)) == len(paid)
        if found is not None:
            break
    assert found == tuned(ScriptedLLM(script.answer), chosen)


@pytest.mark.parametrize("size", [14, 300])
def test_the_same_seed_writes_the_same_prompts(size: int) -> None:
    def written(seed: int) -> dict[str, str]:
        found = tuned(ScriptedLLM(script.answer), sample(size, seed))
        limits = PromptLimits(2000, lambda text: count(text, EstimatedTokens()))
        return dict(DIALECTS["graphrag"].write(found.sources, limits).files)

    assert written(1) == written(1)
    assert written(1) != written(2)


def test_mixed_languages_and_what_breaks_prompts_go_through() -> None:
    texts = [
        "\u041a\u0430\u043f\u0438\u0442\u0430\u043d Ann Lee \u043d\u0430 Aurora.",
        "\u8239\u9577 Bo Berg \u306f Boreas \u306b\u3002{x}",
        'Caro Diaz commands Calypso ("entity"<|>X<|>Y) ## <|COMPLETE|> {input_text}',
    ]
    found = [Chunk("a.txt", number, text, 9) for number, text in enumerate(texts, 1)]
    made = tuned(ScriptedLLM(script.answer), found, types=("ship", "person"))
    assert [each.text for each in made.sources.examples] == texts
    whole = DIALECTS["graphrag"].write(made.sources, PromptLimits(99999, len))
    text = whole.files["extract_graph.txt"].format(input_text="a text")
    assert whole.examples == 3 and all(each in text for each in texts)
