"""Solved records in front of the input: which ones, how many, in which order, by chance."""

from __future__ import annotations

from dataclasses import replace

from cuecard.evaluation.baselines.manual import demonstration_counts, with_demonstrations
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState


class Demonstrations:
    """Draws records of all labels in turn; the race keeps what helps.

    Which ones are drawn matters more than most words do (Zhao et al. 2021, arXiv:2102.09690).
    """

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Draws for every number of demonstrations in turn."""
        counts = demonstration_counts(state.spec, state.train)
        bare = replace(state.best.prompt, demonstrations=())
        found = []
        for number in range(count if counts else 0):
            shown = counts[number % len(counts)]
            seed = int(state.rng.integers(2**31))
            (prompt,) = with_demonstrations(bare, state.train, (shown,), state.spec, seed)
            origin = f"{shown} demonstrations, round {state.round + 1}"
            found.append(PromptCandidate(replace(prompt, name=origin), origin))
        return found
