"""The ways to search, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cuecard.search.searcher import Searcher
from cuecard.search.searchers.ape import APE
from cuecard.search.searchers.demonstrations import Demonstrations
from cuecard.search.searchers.evoprompt import EvoPromptDE, EvoPromptGA
from cuecard.search.searchers.grips import GrIPS
from cuecard.search.searchers.opro import OPRO

SEARCHERS: Mapping[str, type[Searcher]] = MappingProxyType(
    {
        searcher.name: searcher
        for searcher in (Demonstrations, GrIPS, APE, OPRO, EvoPromptGA, EvoPromptDE)
    }
)
