"""Solved records in front of the input: which ones, how many, in which order, by chance."""

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
from cuecard.types import Record


class Demonstrations:
    """Draws records of all labels in turn; the race keeps what helps.

    Which ones are drawn matters more than most words do (Zhao et al. 2021, arXiv:2102.09690).
    """

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Draws for every number of demonstrations in turn."""
        counts = demonstration_counts(state.spec, state.train)
        found = []
        for number in range(count if counts else 0):
            records = drawn(state, counts[number % len(counts)])
            origin = f"{len(records)} demonstrations, round {state.round + 1}"
            found.append(with_shown(state.best, records, origin))
        return found


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
