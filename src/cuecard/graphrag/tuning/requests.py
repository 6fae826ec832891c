"""The requests of a tuning: which chunks each shows, and how much of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cuecard.graphrag.chunks import Chunk, TokenCounter, count, shortened
from cuecard.graphrag.gold import TextSet
from cuecard.graphrag.prompts.sources import CorpusProfile
from cuecard.graphrag.tuning.questions import example_request, profile_request, types_request
from cuecard.graphrag.tuning.reading import LONGEST, LONGEST_TYPE
from cuecard.graphrag.tuning.settings import TuneSettings
from cuecard.llms.protocol import LLMRequest

_CHUNKS_A_CALL = 5
SOLVED_PER_EXAMPLE = 2
"""Chunks that are solved for each example; the prompt gets the more telling ones."""


@dataclass(frozen=True)
class TuneRequests:
    """What a tuning asks.

    Attributes:
        tokens: what texts are counted in.
        gold: solved texts, whose types and examples need not be asked for.
    """

    settings: TuneSettings
    tokens: TokenCounter
    gold: TextSet | None = None

    @property
    def given_types(self) -> tuple[str, ...]:
        """Types that are known beforehand."""
        return self.settings.types or (() if self.gold is None else self.gold.types)

    @property
    def finds_types(self) -> bool:
        """Whether types are asked for."""
        asked = self.settings.find_types
        return not self.given_types if asked is None else asked

    def profile(self, chunks: Sequence[Chunk]) -> LLMRequest:
        """What the corpus is."""
        settings = self.settings
        return profile_request(self._excerpts(chunks), settings.domain, settings.language)

    def types(self, profile: CorpusProfile, chunks: Sequence[Chunk]) -> list[LLMRequest]:
        """Which types of entities some chunks have, of all chunks in turn."""
        groups = [
            chunks[begin : begin + _CHUNKS_A_CALL]
            for begin in range(0, len(chunks), _CHUNKS_A_CALL)
        ]
        most = self.settings.most_types
        return [types_request(profile, self._excerpts(group), most) for group in groups]

    def example(self, profile: CorpusProfile, types: Sequence[str], text: str) -> LLMRequest:
        """What is in a text."""
        return example_request(profile, types, text, count(text, self.tokens))

    def example_text(self, chunk: Chunk) -> str:
        """As much of a chunk as an example shows."""
        return shortened(chunk.text, self.tokens, self.settings.example_tokens)

    def can_be_shown(self, text: str) -> bool:
        """Whether a whole text is short enough for an example."""
        return count(text, self.tokens) <= self.settings.example_tokens

    def parts(self, chunks: Sequence[Chunk]) -> Iterator[tuple[str, str, list[LLMRequest]]]:
        """Name, what it asks, and requests of every part, if no answer has to be repaired.

        What later requests repeat of earlier answers is not known, so it counts at its longest.
        """
        settings = self.settings
        long = CorpusProfile(**{name: "x" * most for name, most in LONGEST.items()})
        yield "profile", "what the corpus is", [self.profile(chunks)]
        if self.finds_types:
            yield "types", "types of entities", self.types(long, chunks)
        if self.gold is None:
            solved = chunks[: settings.examples * SOLVED_PER_EXAMPLE]
            texts = [self.example_text(each) for each in solved]
            names = self.given_types or ("x" * LONGEST_TYPE,) * settings.most_types
            requests = [self.example(long, names, text) for text in texts]
            yield "examples", "entities and relationships of chunks", requests

    def _excerpts(self, chunks: Sequence[Chunk]) -> list[str]:
        """Beginnings of chunks that have room in one request."""
        room = max(1, self.settings.call_tokens // len(chunks))
        return [shortened(each.text, self.tokens, room) for each in chunks]
