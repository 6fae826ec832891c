"""Trigger tokens found by gradients, one place at a time, checked on other rows (AutoPrompt)."""

from __future__ import annotations

from cuecard.search.budget import BudgetSpent
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.gradient.passes import Passes, passes_of


class AutoPrompt:
    """Shin et al. 2020, "AutoPrompt: Eliciting Knowledge from Language Models with Automatically
    Generated Prompts", section 2.2.

    Each step takes one place of the trigger by chance and the tokens that the gradient on a batch
    says are best there; the best of them on another batch is kept where it is better than what was.
    """

    def __init__(self) -> None:
        self._text: str | None = None

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """The triggers that were kept in a few steps."""
        passes = passes_of(state, self._text)
        ids = passes.trigger.ids
        found: list[PromptCandidate] = []
        for step in range(count):
            try:
                ids, better = await _step(passes, state, ids)
            except BudgetSpent:
                if not found:
                    raise
                break  # what was found may still race
            if better:
                origin = f"autoprompt, round {state.round + 1}, step {step + 1}"
                found.append(passes.trigger.candidate(ids, origin))
        self._text = passes.trigger.text(ids)
        return found


async def _step(
    passes: Passes, state: SearchState, ids: tuple[int, ...]
) -> tuple[tuple[int, ...], bool]:
    """The next trigger, and whether it is another one."""
    first, other = passes.draw(state.rng), passes.draw(state.rng)
    place, seed = int(state.rng.integers(len(ids))), int(state.rng.integers(2**31))
    triggers = [ids, *await passes.swaps(ids, first, seed, place)]
    losses = await passes.losses(triggers, other)
    best = triggers[losses.index(min(losses))]
    return best, best != ids
