"""Greedy coordinate gradient: many swaps of one token each, the best one kept (GCG)."""

from __future__ import annotations

from cuecard.search.budget import BudgetSpent
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.gradient.passes import Passes, passes_of

_STEPS = 4


class GCG:
    """Zou et al. 2023, "Universal and Transferable Adversarial Attacks on Aligned Language Models",
    section 2.2, for a task's loss.

    Each step draws swaps of one token from the 256 of each place that the gradient says lower the
    loss most, drops those whose text is read in other tokens, and keeps the best one on the same
    rows. With few swaps (the paper has 512) none may be better; then the trigger stays.
    """

    def __init__(self) -> None:
        self._text: str | None = None

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """The triggers of a few steps."""
        passes = passes_of(state, self._text)
        ids = passes.trigger.ids
        found: list[PromptCandidate] = []
        for step in range(min(count, _STEPS)):
            try:
                ids, better = await _step(passes, state, ids)
            except BudgetSpent:
                if not found:
                    raise
                break  # what was found may still race
            if better:
                origin = f"gcg, round {state.round + 1}, step {step + 1}"
                found.append(passes.trigger.candidate(ids, origin))
        self._text = passes.trigger.text(ids)
        return found


async def _step(
    passes: Passes, state: SearchState, ids: tuple[int, ...]
) -> tuple[tuple[int, ...], bool]:
    """The next trigger, and whether it is another one."""
    chosen, seed = passes.draw(state.rng), int(state.rng.integers(2**31))
    triggers = [ids, *await passes.swaps(ids, chosen, seed)]
    losses = await passes.losses(triggers, chosen)
    best = triggers[losses.index(min(losses))]
    return best, best != ids
