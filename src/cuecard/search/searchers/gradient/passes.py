"""The passes of a search by gradients, counted and kept: triggers' losses, and swaps of tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuecard.lazy import np, torch
from cuecard.search.budget import Amount, BudgetSpent
from cuecard.search.candidate import PromptCandidate
from cuecard.search.model import pass_tokens
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.gradient.fluency import Fluency
from cuecard.search.searchers.gradient.trigger import Ids, Trigger, trigger_of
from cuecard.search.searchers.writing import with_instruction
from cuecard.search.settings import SearchSettings
from cuecard.types import Encoded

if TYPE_CHECKING:
    from torch import Tensor

# Zou et al. 2023 draw from so many tokens of each place.
TOP = 256
# Rows and swaps of a step where the settings say nothing; the paper's are 512 swaps.
_ROWS, _SWAPS = 16, 32
# Drawn for every swap that is wanted, at most: many are no text.
_DRAWS = 4


@dataclass(frozen=True)
class Passes:
    """What a searcher asks of the model about one trigger's rows.

    Attributes:
        fluency: None where it has no weight.
    """

    trigger: Trigger
    settings: SearchSettings
    fluency: Fluency | None

    @classmethod
    def of(cls, trigger: Trigger, settings: SearchSettings) -> Passes:
        """
        Raises:
            ConfigError: fluency of a model that does not say the words it reads.
        """
        fluency = Fluency(trigger.model.backbone) if settings.fluency else None
        return cls(trigger, settings, fluency)

    @property
    def _wanted(self) -> int:
        return self.settings.population or _SWAPS

    @property
    def _batch(self) -> int:
        return self.settings.step_rows or _ROWS

    def draw(self, rng: np.random.Generator) -> list[int]:
        """Numbers of the rows of a batch."""
        return [int(row) for row in rng.permutation(len(self.trigger.rows))[: self._batch]]

    async def losses(self, triggers: Sequence[Ids], chosen: Sequence[int]) -> list[float]:
        """Each trigger's mean loss on some rows, with the weighted fluency.

        Raises:
            BudgetSpent: there is not enough left.
        """
        rows, model = self._rows(chosen), self.trigger.model
        amount = self._cost(rows, len(triggers[0])) * len(triggers)

        def run() -> list[float]:
            prompts = [self.trigger.vectors(ids) for ids in triggers]
            found = model.losses(self.trigger.spec, rows, prompts)
            if self.fluency is not None:
                weight, more = self.settings.fluency, self.fluency.of(triggers)
                found = [own + weight * each for own, each in zip(found, more, strict=True)]
            return found

        key = ["losses", *self._key(chosen), [list(ids) for ids in triggers]]
        losses: list[float] = await model.counted(key, amount, run)
        return losses

    async def swaps(
        self, ids: Ids, chosen: Sequence[int], seed: int, place: int | None = None
    ) -> list[Ids]:
        """The trigger with one token swapped, as the gradient says: of the best for each place.

        Args:
            place: swap there alone, the best tokens in order; anywhere by chance by default.

        Returns:
            Triggers that are texts, as many as `population` says at most.

        Raises:
            BudgetSpent: there is not enough left.
        """
        rows = self._rows(chosen)

        def run() -> list[tuple[int, int]]:
            best = self._best_tokens(ids, chosen)
            return self._texts(ids, best, np.random.default_rng(seed), place)

        key = ["swaps", *self._key(chosen), list(ids), seed, place, self._wanted]
        amount = self._cost(rows, len(ids))
        if self.fluency is not None:  # which says what is likely in each place, too
            amount += self.fluency.cost(len(ids))
        found = await self.trigger.model.counted(key, amount, run)
        return [swapped(ids, place, token) for place, token in found]

    async def best(self, triggers: Sequence[Ids], chosen: Sequence[int]) -> Ids:
        """The trigger with the least loss on some rows; of equals the first.

        Raises:
            BudgetSpent: as `losses`.
        """
        losses = await self.losses(triggers, chosen)
        return triggers[losses.index(min(losses))]

    def gradient(self, ids: Ids, chosen: Sequence[int]) -> tuple[float, Tensor]:
        """The mean loss, with the weighted fluency, and its gradient [P, H]; not counted."""
        prompt = self.trigger.vectors(ids)
        vectors = prompt.vectors.requires_grad_()
        loss = self.trigger.model.loss(self.trigger.spec, self._rows(chosen), prompt)
        (gradient,) = torch.autograd.grad(loss, vectors)
        found = float(loss.detach())
        if self.fluency is not None:
            nll, more = self.fluency.gradient(ids)
            found += self.settings.fluency * nll
            gradient = gradient + self.settings.fluency * more
        return found, gradient

    def cost(self, chosen: Sequence[int], length: int) -> Amount:
        """What one trigger on some rows takes."""
        return self._cost(self._rows(chosen), length)

    @property
    def most(self) -> Amount:
        """What the first trigger takes on the rows of a batch at most."""
        longest = sorted(self.trigger.rows, key=lambda row: -pass_tokens([row], 0))
        return self._cost(longest[: self._batch], len(self.trigger.ids))

    @property
    def most_of_step(self) -> Amount:
        """What `swaps` takes at most, with the `losses` of what it finds and of what was."""
        most = self.most * (self._wanted + 2)
        return most if self.fluency is None else most + self.fluency.cost(len(self.trigger.ids))

    def _best_tokens(self, ids: Ids, chosen: Sequence[int]) -> Tensor:
        """[P, TOP] the tokens that lower the loss most to first order, best first."""
        _, gradient = self.gradient(ids, chosen)
        table = self.trigger.model.backbone.embeddings
        scores = (gradient.to(table.dtype) @ table.T).float()
        if self.fluency is not None:
            words = self.fluency.words(ids)[:, : scores.shape[1]]
            scores = scores + self.settings.fluency / len(ids) * words
        barred = ~self.trigger.allowed.to(scores.device)
        scores = scores.masked_fill(barred, torch.inf)
        scores[torch.arange(len(ids)), list(ids)] = torch.inf  # as it is
        usable = int((~barred).sum()) - 1
        return scores.topk(min(TOP, usable), largest=False).indices

    def _texts(
        self, ids: Ids, best: Tensor, rng: np.random.Generator, place: int | None
    ) -> list[tuple[int, int]]:
        """Distinct swaps that are texts."""
        wanted, tokens = self._wanted, best.tolist()
        if place is not None:
            drawn = [(place, token) for token in tokens[place]]
        else:
            places = rng.integers(len(ids), size=_DRAWS * wanted)
            ranks = rng.integers(best.shape[1], size=_DRAWS * wanted)
            pairs = zip(places.tolist(), ranks.tolist(), strict=True)
            drawn = [(at, tokens[at][rank]) for at, rank in pairs]
        found: list[tuple[int, int]] = []
        for at, token in list(dict.fromkeys(drawn))[: _DRAWS * wanted]:
            if len(found) == wanted:
                break
            if self.trigger.is_text(swapped(ids, at, token)):
                found.append((at, token))
        return found

    def _rows(self, chosen: Sequence[int]) -> list[Encoded]:
        return [self.trigger.rows[number] for number in chosen]

    def _cost(self, rows: Sequence[Encoded], length: int) -> Amount:
        amount = Amount(len(rows), pass_tokens(rows, length))
        return amount if self.fluency is None else amount + self.fluency.cost(length)

    def _key(self, chosen: Sequence[int]) -> list[object]:
        return [self.trigger.key, list(chosen), self.settings.fluency]


Step = Callable[[Passes, SearchState, Ids], Awaitable[Ids]]
"""The next trigger, which may be the same."""


class Steps:
    """Goes on from trigger to trigger, round by round.

    Args:
        name: of the searcher.
        step: how the next trigger is found.
        most: steps of a round at most; None for one for each candidate.
    """

    def __init__(self, name: str, step: Step, most: int | None = None) -> None:
        self._name, self._step, self._most = name, step, most
        self._text: str | None = None

    async def candidates(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """The triggers that a round comes by; it stops while these can still race.

        Raises:
            BudgetSpent: there are none.
        """
        passes = passes_of(state, self._text)
        ids = passes.trigger.ids
        found: list[PromptCandidate] = []
        for number in range(self._steps(count)):
            if found and not state.affords(passes.most_of_step):
                break
            try:
                better = await self._step(passes, state, ids)
            except BudgetSpent:  # by failed calls or the time, which `affords` does not count
                if not found:
                    raise
                break
            if better != ids:
                origin = f"{self._name}, round {state.round + 1}, step {number + 1}"
                found.append(passes.trigger.candidate(better, origin))
            ids = better
        self._text = passes.trigger.text(ids)
        return found

    def most(self, state: SearchState, count: int) -> Amount:
        """What the steps of a round take at most; errors as in `passes_of`."""
        return passes_of(state, None).most_of_step * self._steps(count)

    def _steps(self, count: int) -> int:
        return count if self._most is None else min(count, self._most)


def swapped(ids: Ids, place: int, token: int) -> Ids:
    """A trigger with another token in one place."""
    return (*ids[:place], token, *ids[place + 1 :])


def passes_of(state: SearchState, text: str | None) -> Passes:
    """The passes of a round.

    Args:
        text: the instruction that a searcher goes on from; by default that of the best prompt.

    Raises:
        ConfigError: as `trigger_of` and `Passes.of`.
    """
    base = state.best if text is None else with_instruction(state.best, text, state.best.origin)
    return Passes.of(trigger_of(state, base), state.settings)
