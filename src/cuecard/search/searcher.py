"""What proposes candidates: it asks nothing of the budget, the journal or the race."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cuecard.search.asker import Asker
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.model import SearchModel
from cuecard.search.race import Racer
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import Solver
from cuecard.tasks import TaskSpec
from cuecard.types import Record

if TYPE_CHECKING:
    from cuecard.lazy import np

Observer = Callable[[dict[str, Any]], None]


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

    def sample(self, count: int) -> list[Record]:
        """So many of the rows that may be shown, by chance; all of them where there are fewer."""
        return [self.train[int(row)] for row in self.rng.permutation(len(self.train))[:count]]

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
