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
        home: its module here, and its class.
        needs_llm: whether it asks an LLM to write.
    """

    home: tuple[str, str]
    needs_llm: bool = True

    def make(self) -> Searcher:
        """A new one, for one search."""
        module, name = self.home
        made: Searcher = getattr(import_module(f"{__name__}.{module}"), name)()
        return made


SEARCHERS: Mapping[str, SearcherEntry] = MappingProxyType(
    {
        "demonstrations": SearcherEntry(("demonstrations", "Demonstrations"), needs_llm=False),
        "grips": SearcherEntry(("grips", "GrIPS"), needs_llm=False),
        "ape": SearcherEntry(("ape", "APE")),
        "opro": SearcherEntry(("opro", "OPRO")),
        "evoprompt-ga": SearcherEntry(("evoprompt", "EvoPromptGA")),
        "evoprompt-de": SearcherEntry(("evoprompt", "EvoPromptDE")),
    }
)
