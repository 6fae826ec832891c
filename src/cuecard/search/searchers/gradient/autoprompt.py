"""Trigger tokens found by gradients, one place at a time, checked on other rows (AutoPrompt)."""

from __future__ import annotations

from cuecard.errors import ConfigError
from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.fitted.label_words import LabelWordSearch
from cuecard.search.searchers.gradient.passes import Passes, Steps
from cuecard.search.searchers.gradient.trigger import Ids


class AutoPrompt:
    """Shin et al. 2020, "AutoPrompt: Eliciting Knowledge from Language Models with Automatically
    Generated Prompts", section 2.2.

    Each step takes one place of the trigger by chance and the tokens that the gradient on a batch
    says are best there; the best of them on another batch is kept where it is better than what was.
    With `words_by` the first round is one of label words (section 2.3).
    """

    def __init__(self) -> None:
        self._steps = Steps("autoprompt", _step)
        self._words = False

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """The triggers that were kept in a few steps.

        Raises:
            ConfigError: label words of a task without labels.
        """
        if not self._words and state.settings.words_by is not None:
            self._words = True
            return await _words_of(state).propose(state, count)
        return await self._steps.candidates(state, count)

    def most(self, state: SearchState, count: int) -> Amount:
        """See `RunsModel.most`."""
        steps = self._steps.most(state, count)
        words = state.settings.words_by
        return steps if words is None else steps.at_least(_words_of(state).most(state, count))


def _words_of(state: SearchState) -> LabelWordSearch:
    if not state.spec.labels:
        raise ConfigError(
            "a task without labels has no words for them",
            where="--words-by",
            got=state.settings.words_by,
            expected="a task with labels, or no --words-by",
        )
    return LabelWordSearch()


async def _step(passes: Passes, state: SearchState, ids: Ids) -> Ids:
    first, other = passes.draw(state.rng), passes.draw(state.rng)
    place, seed = int(state.rng.integers(len(ids))), int(state.rng.integers(2**31))
    return await passes.best([ids, *await passes.swaps(ids, first, seed, place)], other)
