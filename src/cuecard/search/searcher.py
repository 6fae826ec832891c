"""What proposes candidates: it asks nothing of the budget, the journal or the race."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cuecard.search.asker import Asker
from cuecard.search.budget import Amount
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.model import SearchModel
from cuecard.search.race import Racer
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import Solver
from cuecard.tasks import TaskSpec
from cuecard.training.storage.log import Observer
from cuecard.types import Record

if TYPE_CHECKING:
    from cuecard.lazy import np

_NOTHING = Amount()


@dataclass(frozen=True)
class SearchState:
    """What a searcher sees of a search.

    Attributes:
        spec: the task.
        train: training rows that may be shown; none of those that candidates race on.
        start: the prompt that is to be improved.
        ranked: all candidates so far with their answers, best first, the start among them.
        round: how many rounds there were.
        rng: of this round: the same in every sitting.
        asker: the LLM that writes; None without one.
        solver: what answers, also rows of `train`.
        calls: makes what costs, each call once and within the budget.
        tell: takes an event (`{"event": ...}`) for those who watch, and for the report.
        model: the backbone that answers; None where an LLM elsewhere does.
        settings: of the search.
        policy: what rlprompt writes with.
        aside: what the race of this round takes at most, and all that follows the rounds.
    """

    spec: TaskSpec
    train: Sequence[Record]
    start: PromptCandidate
    ranked: Sequence[Racer]
    round: int
    rng: np.random.Generator
    asker: Asker | None
    solver: Solver
    calls: Calls
    tell: Observer
    model: SearchModel | None
    settings: SearchSettings
    policy: SearchModel | None = None
    aside: Amount = _NOTHING

    def sample(self, count: int) -> list[Record]:
        """So many of the rows that may be shown, by chance; all of them where there are fewer."""
        return [self.train[int(row)] for row in self.rng.permutation(len(self.train))[:count]]

    def longest(self, candidate: PromptCandidate, count: int) -> list[Record]:
        """So many of the rows that may be shown, those in which a candidate has most tokens."""
        assert self.model is not None  # what counts tokens
        backbone = self.model.backbone
        spec = candidate.to_spec(self.spec, backbone.tokenizer, backbone.max_positions)
        lengths = [len(spec.encode(row, backbone.tokenizer).context) for row in self.train]
        order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
        return [self.train[number] for number in order[:count]]

    def affords(self, amount: Amount) -> bool:
        """Whether the candidates of this round may still race when so much was spent on them."""
        return self.calls.affords(self.aside + amount)

    @property
    def best(self) -> PromptCandidate:
        """The best candidate so far."""
        return self.ranked[0].candidate


class Searcher(Protocol):
    """A way to search; `SEARCHERS` has them by name."""

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """About `count` candidates; none when it has no more.

        Raises:
            BudgetSpent, LLMError: as `Asker.ask`, `Solver.judge` and `SearchModel.counted`.
        """
        ...


@runtime_checkable
class RunsModel(Protocol):
    """A searcher that runs the model beside the race, to find candidates."""

    def most(self, state: SearchState, count: int) -> Amount:
        """What this takes in a round at most, for about `count` candidates made of the best one.

        Raises:
            ConfigError: as `propose`.
        """
        ...
