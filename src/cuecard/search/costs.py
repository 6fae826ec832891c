"""What a search will take, before it begins: of every part at most, by the budget's own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from cuecard.errors import ConfigError
from cuecard.llms.protocol import LLMMessage, LLMRequest
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount, BudgetSpent, SearchBudget
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searcher import RunsModel, Searcher, SearchState
from cuecard.search.searchers.writing import LONGEST, shown
from cuecard.search.solver import Solver
from cuecard.tasks import Task, TaskSpec
from cuecard.types import Record
from cuecard.validation_text import counted

LONGER = 2
"""Candidates are longer than the start, and what answering takes grows with them."""

# What a request to write shows, and how long its answer may be: the most of the searchers here.
_SOLVED, _PAST, _WRITTEN = 6, 20, 200


@dataclass(frozen=True, slots=True)
class CostPart:
    """A part of a search.

    Attributes:
        name: "start", "round", "finals" or "test".
        what: what is done, in words.
        most: what it takes at most; of a round about that, since searchers differ.
        counted: whether the budget counts it.
    """

    name: str
    what: str
    most: Amount
    counted: bool = True


@dataclass(frozen=True)
class SearchCosts:
    """What a search will take.

    Attributes:
        parts: in their order.
        rounds: that it makes at most.
        budget: what it may take.
        judge: the limits of the LLM that judges, which are beside these; None without one.
    """

    parts: tuple[CostPart, ...]
    rounds: int
    budget: SearchBudget
    judge: str | None = None

    @property
    def _fixed(self) -> Amount:
        """All but the rounds."""
        found = [part.most for part in self.parts if part.counted and part.name != "round"]
        return sum(found, Amount())

    @property
    def _round(self) -> Amount:
        return next(part.most for part in self.parts if part.name == "round")

    @property
    def paid_rounds(self) -> int:
        """How many whole rounds the budget's calls, tokens and money pay for."""
        found = [self.rounds]
        for name, limit in asdict(self.budget).items():
            if name != "seconds" and limit is not None and (each := getattr(self._round, name)):
                found.append(max(0, limit - getattr(self._fixed, name)) // each)
        return min(found)

    @property
    def most(self) -> Amount:
        """What all of it takes at most: with all rounds, and never more than the budget."""
        found = {}
        whole = self._fixed + self._round * self.rounds
        for field in fields(Amount):
            value = getattr(whole, field.name)
            limit = getattr(self.budget, field.name)
            found[field.name] = value if limit is None else min(value, limit)
        return Amount(**found)

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it, money in dollars."""
        parts = {
            part.name: {"what": part.what, "counted": part.counted, **part.most.priced()}
            for part in self.parts
        }
        return {
            "parts": parts,
            "rounds": {"most": self.rounds, "paid": self.paid_rounds},
            "at_most": self.most.priced(),
            "seconds": self.budget.seconds,
            "judge": self.judge,
        }


@dataclass(frozen=True)
class SearchNeeds:
    """What the parts of a search take at most, and whether its budget is enough for them.

    Attributes:
        task: with the rows of the finals and of the test.
        raced: training rows that candidates race on.
        firsts: what the searcher may see in the first round: the start as the best prompt, then
            each of the others.
        after: what must be left at the end.
    """

    task: Task
    raced: Sequence[Record]
    searcher: Searcher
    firsts: Sequence[SearchState]
    after: Amount

    @cached_property
    def finals(self) -> Amount:
        """The finalists' answers to all validation rows."""
        return of_longer(self._most(self.task.validation), self._first.settings.finalists)

    @property
    def race(self) -> Amount:
        """The answers of a round's candidates to all raced rows."""
        return of_longer(self._most(self.raced), self._first.settings.proposals)

    @property
    def from_race(self) -> Amount:
        """A round's race, and all that follows the rounds."""
        return self.race + self.finals + self.after

    @property
    def beside(self) -> Amount:
        """What the searcher runs in a round beside the race, whichever prompt is best."""
        most = Amount()
        if isinstance(self.searcher, RunsModel):
            for state in self.firsts:
                most = most.at_least(self.searcher.most(state, state.settings.proposals))
        return most

    def costs(self) -> SearchCosts:
        """Part by part.

        Raises:
            ConfigError: a budget that is too small to compare anything.
        """
        budget = self._first.calls.ledger.budget
        start, *last = self._fixed
        limit = budget.allows(self._least)
        if limit is not None:
            raise self.too_small(BudgetSpent(limit))
        parts = (start, self._of_round(), *last)
        return SearchCosts(parts, self._first.settings.rounds, budget)

    @cached_property
    def _fixed(self) -> tuple[CostPart, ...]:
        """All parts but the rounds."""
        task = self.task
        on = counted(len(task.validation), "validation row")
        finalists = counted(self._first.settings.finalists, "finalist")
        own = self._most(task.validation) + self._most(self.raced)
        parts = [
            CostPart("start", f"the prompt as it is on {on} and {self._raced_rows}", own),
            CostPart("finals", f"{finalists} on {on}", self.finals),
        ]
        if task.test:
            most = of_test(self._first.solver, self._first.start, task.test)
            what = f"two prompts on {counted(len(task.test), 'test row')}"
            parts.append(CostPart("test", what, most, self.after != Amount()))
        return tuple(parts)

    @property
    def _least(self) -> Amount:
        """What all but the rounds takes of the budget."""
        return sum((part.most for part in self._fixed if part.counted), Amount())

    @property
    def _raced_rows(self) -> str:
        return counted(len(self.raced), "training row")

    def _of_round(self) -> CostPart:
        first, count = self._first, self._first.settings.proposals
        each, how = self.race, f"{counted(count, 'candidate')} on {self._raced_rows}"
        if first.asker is not None:
            each += of_writing(first.asker, first.spec, first.start, first.train, count)
            how += f", {counted(count, 'request')} to {first.asker.llm.name}"
        if (beside := self.beside) != Amount():
            each += beside
            how += f", {counted(beside.calls, 'row')} that the searcher runs the model on"
        return CostPart("round", how, each)

    def too_small(self, error: BudgetSpent) -> ConfigError:
        """The error of a budget that does not pay for any comparison."""
        whole = ", ".join(part.what for part in self._fixed if part.counted)
        least = ""
        if error.limit != "time":
            least = f"more than {SearchBudget(**asdict(self._least)).text(error.limit)}: "
        return ConfigError(
            "the search budget is too small to compare prompts",
            where=error.flag,
            got=self._first.calls.ledger.budget.text(error.limit),
            expected=f"{least}{whole}, and the candidates' races",
            hint="fewer rows need less: --race-rows, --finalists",
        )

    @property
    def _first(self) -> SearchState:
        return self.firsts[0]

    def _most(self, rows: Sequence[Record]) -> Amount:
        """What the start takes on some rows."""
        return self._first.solver.most(self._first.start, rows)


def of_longer(most: Amount, count: int) -> Amount:
    """What candidates take that are longer than the start, which takes `most`."""
    times = count * LONGER
    return Amount(count * most.calls, times * most.tokens, times * most.money)


def of_test(solver: Solver, start: PromptCandidate, records: Sequence[Record]) -> Amount:
    """What the start and a longer prompt take on test rows."""
    most = solver.most(start, records)
    return most + of_longer(most, 1)


def of_writing(
    asker: Asker, spec: TaskSpec, start: PromptCandidate, train: Sequence[Record], count: int
) -> Amount:
    """About what an LLM takes that is asked for so many candidates."""
    past = (start.prompt.instruction or "x " * (LONGEST // 4)) * _PAST
    text = f"{shown(spec, train[:_SOLVED])}\n\n{past}"
    request = LLMRequest((LLMMessage("user", text),), _WRITTEN, 1.0)
    return asker.most(request) * count
