"""Searches by name with the scripted model of `cuecard.testing`."""

from __future__ import annotations

from pathlib import Path

from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.budget import SearchBudget
from cuecard.search.found import Found
from cuecard.search.searchers import SEARCHERS
from cuecard.search.settings import SearchSettings
from cuecard.testing.scripted import (
    GOOD,
    NO_LIMITS,
    SETTINGS,
    START,
    WORDS,
    chance,
    run_scripted_search,
    told,
)
from cuecard.testing.scripted import film_llm as world
from cuecard.training.storage.log import Observer
from support.tiny import shared_backbone

__all__ = [
    "AT_HAND",
    "GOOD",
    "NO_LIMITS",
    "SCRIPTED",
    "SETTINGS",
    "START",
    "WORDS",
    "chance",
    "search",
    "told",
    "world",
]

# Those that a scripted model can answer; the others have tests of their own.
AT_HAND = {"llm", "optuna", "gradients", "gepa"}
SCRIPTED = [name for name, one in SEARCHERS.items() if one.missing(AT_HAND) is None]


def search(
    name: str,
    folder: Path | None = None,
    llm: ScriptedLLM | None = None,
    budget: SearchBudget = NO_LIMITS,
    settings: SearchSettings = SETTINGS,
    rows: int = 100,
    observer: Observer | None = None,
) -> Found:
    return run_scripted_search(
        SEARCHERS[name].make(),
        folder,
        key=name,
        llm=llm,
        budget=budget,
        settings=settings,
        rows=rows,
        observer=observer,
        backbone=shared_backbone(),
    )
