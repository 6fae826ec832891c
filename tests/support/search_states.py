"""What a searcher sees in a search's first round, without the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuecard.search.budget import SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.journal import Journal
from cuecard.search.model import SearchModel
from cuecard.search.race import Racer
from cuecard.search.searcher import SearchState
from cuecard.search.settings import SearchSettings
from cuecard.tasks import TaskSpec
from cuecard.types import Record


def first_state(
    backbone: Any,
    spec: TaskSpec,
    train: Sequence[Record],
    start: PromptCandidate,
    settings: SearchSettings,
) -> SearchState:
    """For searchers that ask the model alone: nothing answers, and no LLM writes."""
    calls = Calls(Journal(None, ""), SearchBudget())
    return SearchState(
        spec=spec,
        train=train,
        start=start,
        ranked=[Racer(start)],
        round=0,
        rng=np.random.default_rng(0),
        asker=None,
        solver=None,  # type: ignore[arg-type]
        calls=calls,
        tell=lambda event: None,
        model=SearchModel(backbone, calls),
        settings=settings,
    )
