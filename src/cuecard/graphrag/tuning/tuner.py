"""Asks an LLM what a corpus is, which types of entities it has, and for solved examples.

Few calls: one for the profile, one for the types of every five chunks, two for each example. An
answer that cannot be read is asked for once more, with what is wrong with it; if that one cannot be
read either, it is told, and nothing is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from cuecard.errors import DataError
from cuecard.graphrag.chunks import Chunk, TokenCounter
from cuecard.graphrag.gold import TextSet
from cuecard.graphrag.project.project import TYPES
from cuecard.graphrag.prompts.sources import CorpusProfile, ExtractionExample, PromptSources
from cuecard.graphrag.tuning.entity_types import TypeCount, merged_types
from cuecard.graphrag.tuning.gold_examples import gold_examples, most_telling
from cuecard.graphrag.tuning.questions import repair_request
from cuecard.graphrag.tuning.reading import (
    ReadExample,
    UnreadableAnswer,
    read_example,
    read_profile,
    read_types,
)
from cuecard.graphrag.tuning.requests import SOLVED_PER_EXAMPLE, TuneRequests
from cuecard.graphrag.tuning.settings import TuneSettings
from cuecard.llms.protocol import LLMAnswer, LLMRequest
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount
from cuecard.search.costs import CostPart
from cuecard.training.storage.log import Observer

T = TypeVar("T")

_LEAST_TYPES = 2
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class TuneProblem:
    """Something that an LLM did not do as it was asked to.

    Attributes:
        about: what it was asked for.
        what: is wrong.
        answer: the beginning of what it wrote; "" where that does not matter.
    """

    about: str
    what: str
    answer: str = ""


@dataclass(frozen=True)
class TunedSources:
    """What prompts are made of, and how it was found.

    Attributes:
        types: with how often they were found.
        asked: requests that were answered, also in earlier sittings.
        repaired: answers that could be read at the second attempt.
        problems: what was left out, and why.
    """

    sources: PromptSources
    types: tuple[TypeCount, ...]
    asked: int
    repaired: int
    problems: tuple[TuneProblem, ...]


class Tuner:
    """Asks an LLM about chosen chunks.

    Args:
        asker: the LLM.
        tokens: what texts are counted in.
        tell: called with an event after each step.
        gold: solved texts, from which types and examples are taken; None to ask for them.
    """

    def __init__(
        self,
        asker: Asker,
        settings: TuneSettings,
        tokens: TokenCounter,
        tell: Observer = lambda event: None,
        gold: TextSet | None = None,
    ) -> None:
        self._asker, self._settings, self._tell = asker, settings, tell
        self._requests = TuneRequests(settings, tokens, gold)
        self._asked = self._repaired = 0
        self._problems: list[TuneProblem] = []

    async def run(self, chunks: Sequence[Chunk]) -> TunedSources:
        """Ask all that prompts are made of.

        Args:
            chunks: chosen ones, those first that stand for most of the corpus.

        Raises:
            BudgetSpent: there is not enough left for the next call.
            LLMError: the LLM does not answer.
            DataError: examples are wanted, and none could be read, or gold has none that fits.
        """
        profile = await self._profile(chunks)
        self._tell({"event": "profile", **profile.to_dict()})
        types = await self._types(profile, chunks)
        names = tuple(each.name for each in types)
        self._tell({"event": "types", "types": list(names)})
        if self._requests.gold is None:
            examples = await self._examples(profile, names, chunks)
        else:
            examples = self._solved(self._requests.gold, names)
        self._tell({"event": "examples", "examples": len(examples)})
        found = [entity.type for one in examples for entity in one.extraction.entities]
        return TunedSources(
            PromptSources(profile, names, tuple(examples)),
            tuple(replace(each, entities=found.count(each.name)) for each in types),
            self._asked,
            self._repaired,
            tuple(self._problems),
        )

    def costs(self, chunks: Sequence[Chunk]) -> list[CostPart]:
        """What it takes at most, part by part; nothing is asked."""
        parts = list(self._requests.parts(chunks))
        costs = [
            CostPart(name, what, sum(map(self._asker.most, requests), Amount()))
            for name, what, requests in parts
        ]
        again = [
            repair_request(each, "x" * 4 * each.max_tokens, "x" * 200)
            for _, _, requests in parts
            for each in requests
        ]
        most = sum(map(self._asker.most, again), Amount())
        return [*costs, CostPart("repairs", "where no answer can be read", most)]

    async def _profile(self, chunks: Sequence[Chunk]) -> CorpusProfile:
        settings = self._settings
        request = self._requests.profile(chunks)
        (found,) = await self._read([request], [read_profile], ["profile"])
        if found is None:
            self._problem("profile", "general words stand for it in the prompts")
        given = {"domain": settings.domain, "language": settings.language}
        return replace(
            found or CorpusProfile(), **{name: value for name, value in given.items() if value}
        )

    async def _types(
        self, profile: CorpusProfile, chunks: Sequence[Chunk]
    ) -> tuple[TypeCount, ...]:
        settings, found = self._settings, list[list[str]]()
        if self._requests.finds_types:
            requests = self._requests.types(profile, chunks)
            abouts = [f"types, group {number}" for number in range(1, len(requests) + 1)]
            read = partial(read_types, least=min(_LEAST_TYPES, settings.most_types))
            answers = await self._read(requests, [read] * len(requests), abouts)
            found = [each for each in answers if each is not None]
        if not found and not self._requests.given_types:
            self._problem("types", f"GraphRAG's own are used: {', '.join(TYPES)}")
        given = self._requests.given_types or (() if found else TYPES)
        return merged_types(given, found, settings.most_types)

    async def _examples(
        self, profile: CorpusProfile, types: tuple[str, ...], chunks: Sequence[Chunk]
    ) -> list[ExtractionExample]:
        """The most telling of the first chunks; of later ones where an answer cannot be read."""
        wanted, left = self._settings.examples, list(chunks)
        found: dict[ExtractionExample, tuple[str, ...]] = {}
        more = wanted * SOLVED_PER_EXAMPLE
        while left and len(found) < wanted:
            now, left = left[:more], left[more:]
            found |= await self._solve(profile, types, now)
            more = wanted - len(found)
        if wanted and not found:
            raise DataError(
                "no example could be read, so that there are no prompts",
                where=f"model {self._asker.llm.name}",
                got="; ".join(dict.fromkeys(each.what for each in self._problems[-3:])),
                expected="an LLM that answers in JSON",
                hint="a stronger --llm, or --examples 0 for prompts without any",
            )
        if len(found) < wanted:
            self._problem("examples", f"{len(found)} of {wanted} could be had")
        richest = sorted(found, key=lambda each: -len(each.extraction.entities))
        chosen = most_telling(richest, types, wanted)
        for example in chosen:
            for what in found[example]:
                self._problem(f"example of {example.source}", what)
        return chosen

    async def _solve(
        self, profile: CorpusProfile, types: tuple[str, ...], chunks: Sequence[Chunk]
    ) -> dict[ExtractionExample, tuple[str, ...]]:
        """What is in chunks, as far as it can be read, and what of it was left out."""
        texts = [self._requests.example_text(each) for each in chunks]
        answers = await self._read(
            [self._requests.example(profile, types, text) for text in texts],
            [_example_reader(text, types) for text in texts],
            [f"example of {each.name}" for each in chunks],
        )
        return {
            ExtractionExample(chunk.name, text, answer.extraction): answer.notes
            for chunk, text, answer in zip(chunks, texts, answers, strict=True)
            if answer is not None
        }

    def _solved(self, gold: TextSet, types: tuple[str, ...]) -> list[ExtractionExample]:
        """Examples of the gold set."""
        settings, fits = self._settings, self._requests.can_be_shown
        found = gold_examples(gold.texts, types, settings.examples, settings.seed, fits)
        if settings.examples and not found:
            raise DataError(
                "no text of the gold set can be an example",
                where=gold.name,
                got=f"{len(gold.texts)} texts",
                expected=f"one of at most {settings.example_tokens} tokens with an entity of the "
                f"types {', '.join(types)}",
                hint="a larger --example-tokens, or shorter texts",
            )
        return found

    async def _read(
        self,
        requests: Sequence[LLMRequest],
        readers: Sequence[Callable[[str], T]],
        abouts: Sequence[str],
    ) -> list[T | None]:
        """Ask, and ask once more for what cannot be read; None for what cannot be read then."""
        answers = await self._ask(requests)
        found: list[T | None] = []
        again: list[tuple[int, LLMRequest]] = []
        for place, (request, answer, reader) in enumerate(
            zip(requests, answers, readers, strict=True)
        ):
            value, reason = _tried(answer, reader)
            found.append(value)
            if reason:
                again.append((place, repair_request(request, answer.text, reason)))
        repaired = await self._ask([request for _, request in again])
        for (place, _), answer in zip(again, repaired, strict=True):
            found[place], reason = _tried(answer, readers[place])
            if reason:
                self._problem(abouts[place], reason, answer.text)
            else:
                self._repaired += 1
        return found

    async def _ask(self, requests: Sequence[LLMRequest]) -> list[LLMAnswer]:
        answers = await self._asker.ask(requests)
        self._asked += len(answers)
        return answers

    def _problem(self, about: str, what: str, answer: str = "") -> None:
        found = TuneProblem(about, what, " ".join(answer.split())[:_SHOWN])
        self._problems.append(found)
        self._tell({"event": "problem", "about": about, "what": what, "answer": found.answer})


def _tried(answer: LLMAnswer, reader: Callable[[str], T]) -> tuple[T | None, str]:
    """What an answer says, or why it cannot be used."""
    if answer.finish_reason == "length":
        return None, "It was cut off because it is too long; write less."
    if not answer.text.strip():
        return None, "It is empty."
    try:
        return reader(answer.text), ""
    except UnreadableAnswer as error:
        return None, str(error)


def _example_reader(text: str, types: tuple[str, ...]) -> Callable[[str], ReadExample]:
    return lambda answer: read_example(answer, text, types)
