"""The ways to search, by name. Only the one that is asked for is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cuecard.search.searcher import Searcher


@dataclass(frozen=True, slots=True)
class SearcherEntry:
    """A way to search.

    Attributes:
        about: what it does, in a few words.
        home: its module here, and its class.
        needs_llm: whether it asks an LLM to write.
    """

    about: str
    home: tuple[str, str]
    needs_llm: bool = True

    def make(self) -> Searcher:
        """A new one, for one search."""
        module, name = self.home
        made: Searcher = getattr(import_module(f"{__name__}.{module}"), name)()
        return made


SEARCHERS: Mapping[str, SearcherEntry] = MappingProxyType(
    {
        "demonstrations": SearcherEntry(
            "which solved records to show, how many and in which order",
            ("demonstrations", "Demonstrations"),
            needs_llm=False,
        ),
        "grips": SearcherEntry(
            "phrases of the instruction deleted, swapped or put back",
            ("grips", "GrIPS"),
            needs_llm=False,
        ),
        "ape": SearcherEntry(
            "instructions that an LLM guesses from solved records, then varied", ("ape", "APE")
        ),
        "opro": SearcherEntry(
            "an LLM that sees past instructions with their scores", ("opro", "OPRO")
        ),
        "evoprompt-ga": SearcherEntry(
            "an LLM that crosses and mutates the best instructions", ("evoprompt", "EvoPromptGA")
        ),
        "evoprompt-de": SearcherEntry(
            "an LLM that mutates what differs between instructions", ("evoprompt", "EvoPromptDE")
        ),
    }
)
