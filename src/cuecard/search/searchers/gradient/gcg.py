"""Greedy coordinate gradient: many swaps of one token each, the best one kept (GCG)."""

from __future__ import annotations

from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.gradient.passes import Passes, Steps
from cuecard.search.searchers.gradient.trigger import Ids

_STEPS = 4


class GCG:
    """Zou et al. 2023, "Universal and Transferable Adversarial Attacks on Aligned Language Models",
    section 2.2, for a task's loss.

    Each step draws swaps of one token from the 256 of each place that the gradient says lower the
    loss most, drops those whose text is read in other tokens, and keeps the best one on the same
    rows. With few swaps (the paper has 512) none may be better; then the trigger stays.
    """

    def __init__(self) -> None:
        self._steps = Steps("gcg", _step, _STEPS)

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """The triggers of a few steps."""
        return await self._steps.candidates(state, count)

    def most(self, state: SearchState, count: int) -> Amount:
        """See `RunsModel.most`."""
        return self._steps.most(state, count)


async def _step(passes: Passes, state: SearchState, ids: Ids) -> Ids:
    chosen, seed = passes.draw(state.rng), int(state.rng.integers(2**31))
    return await passes.best([ids, *await passes.swaps(ids, chosen, seed)], chosen)
