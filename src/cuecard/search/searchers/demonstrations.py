"""Solved records in front of the input: which ones, how many, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cuecard.evaluation.baselines.manual import (
    demonstration_counts,
    most_demonstrations,
    with_demonstrations,
)
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.fitted.chosen_records import ChosenRecords
from cuecard.types import Record


class Demonstrations:
    """Draws records of all labels in turn, or chooses them by vectors; the race keeps what helps.

    Which ones are drawn matters more than most words do (Zhao et al. 2021, arXiv:2102.09690).
    """

    def __init__(self) -> None:
        self._chosen: ChosenRecords | None = None
        self._choices = 0

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Draws for every number of demonstrations in turn.

        Raises:
            ConfigError: as `ChosenRecords`.
        """
        counts = demonstration_counts(state.spec, state.train)
        found = []
        for number in range(count if counts else 0):
            records = self._records(state, counts[number % len(counts)])
            kind = "" if state.settings.show == "random" else f"{state.settings.show} "
            origin = f"{len(records)} {kind}demonstrations, round {state.round + 1}"
            found.append(with_shown(state.best, records, origin))
        return found

    def _records(self, state: SearchState, count: int) -> tuple[Record, ...]:
        way = state.settings.show
        if way == "random":
            return drawn(state, count)
        chosen = self._chosen = self._chosen or ChosenRecords(state)
        choose = chosen.typical if way == "typical" else chosen.diverse
        found = choose(count, self._choices)
        self._choices += 1
        # What stands last weighs most, so that an order is a choice too.
        return tuple(found[int(at)] for at in state.rng.permutation(len(found)))


def drawn(state: SearchState, count: int) -> tuple[Record, ...]:
    """So many records to show, of all labels in turn; fewer where there are fewer."""
    seed = int(state.rng.integers(2**31))
    count = min(count, most_demonstrations(state.train, state.spec))
    if count == 0:
        return ()
    bare = replace(state.start.prompt, demonstrations=())
    (prompt,) = with_demonstrations(bare, state.train, (count,), state.spec, seed)
    return prompt.demonstrations


def with_shown(base: PromptCandidate, records: Sequence[Record], origin: str) -> PromptCandidate:
    """The same prompt with other demonstrations."""
    prompt = replace(base.prompt, demonstrations=tuple(records), name=origin)
    return PromptCandidate(prompt, origin)
