"""What prompts are made of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from cuecard.graphrag.records import Extraction


@dataclass(frozen=True, slots=True)
class CorpusProfile:
    """What a corpus is, in the words that prompts use.

    Attributes:
        domain: what it is about.
        language: in which descriptions are written.
        persona: the expert who would read it, as an instruction to an LLM.
        role: who reports on a group of its entities.
        rating: what makes such a report important, on a scale from 0 to 10.
    """

    domain: str = "general knowledge"
    language: str = "English"
    persona: str = (
        "You are an expert in the analysis of documents. You find who and what they are about, and "
        "how these are connected."
    )
    role: str = "an analyst who reports on groups of connected entities to people who decide"
    rating: str = (
        "How much the group matters to somebody who has to understand these documents: 0 is "
        "trivial, 10 is essential."
    )

    def to_dict(self) -> dict[str, str]:
        """As JSON knows it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class ExtractionExample:
    """A text and what is found in it.

    Attributes:
        source: the chunk that it is from.
    """

    source: str
    text: str
    extraction: Extraction

    def to_dict(self) -> dict[str, Any]:
        """For reports."""
        return {
            "source": self.source,
            "text": self.text,
            "entities": [each.name for each in self.extraction.entities],
            "relations": len(self.extraction.relations),
        }


@dataclass(frozen=True)
class PromptSources:
    """All that prompts are made of.

    Attributes:
        types: of entities, the most frequent first.
    """

    profile: CorpusProfile
    types: tuple[str, ...]
    examples: tuple[ExtractionExample, ...]
