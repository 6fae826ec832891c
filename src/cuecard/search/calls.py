"""Calls that cost: from the journal if they were made before, else within the budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cuecard.search.budget import Amount, BudgetSpent, Ledger, SearchBudget
from cuecard.search.journal import Journal


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """What a call gave, and what it took.

    Attributes:
        answer: anything that JSON holds.
    """

    answer: Any
    spent: Amount


class CallFailed(Exception):  # noqa: N818 - said of a call, not of the search
    """A call without an answer.

    Args:
        why: for the journal.
        spent: what it took all the same; None for all that was reserved, where nobody knows.
    """

    def __init__(self, why: str, spent: Amount | None = None) -> None:
        super().__init__(why)
        self.spent = spent


class Calls:
    """Makes calls, each once.

    Args:
        journal: of this search.
        budget: the limits over all sittings.
        clock: seconds that only grow.

    Attributes:
        share: of the time that may be used for now.
        used: what the answers that this sitting asked for took, also those of earlier ones.
    """

    def __init__(
        self,
        journal: Journal,
        budget: SearchBudget,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.journal = journal
        self.ledger = Ledger(budget, journal.spent)
        self._clock, self._started = clock, clock()
        self.share = 1.0
        self.used = Amount()
        self._met: set[str] = set()
        self._under_way: dict[str, asyncio.Lock] = {}

    @property
    def seconds(self) -> float:
        """Since the search began, over all sittings."""
        return self.journal.seconds + self._clock() - self._started

    @property
    def saving(self) -> bool:
        """Whether something is kept for the last comparison, for now."""
        return self.share < 1.0

    def affords(self, amount: Amount) -> bool:
        """Whether the budget leaves so much beside what this sitting asked for.

        The same in every sitting: of a resumed search all of it is spent at its beginning.
        """
        return self.ledger.budget.allows(self.used + amount) is None

    def note(self, key: str, value: Any) -> Any:
        """Something that a search has decided, as it was decided first."""
        if key not in self.journal.answers:
            self.journal.answered(key, Amount(), value)
        return self.journal.answers[key]

    async def make(
        self,
        key: str,
        model: str,
        reserved: Amount,
        run: Callable[[], Awaitable[CallAnswer]],
    ) -> Any:
        """The answer to a call.

        Args:
            key: of the model and all that it is asked: equal keys have equal answers.
            model: for the journal.
            reserved: what it takes at most.

        Raises:
            BudgetSpent: there is not enough left for it.
            CallFailed: as `run` raises it.
        """
        async with self._under_way.setdefault(key, asyncio.Lock()):
            if key in self.journal.answers:
                return self._answer(key)
            most = self.ledger.budget.seconds
            if most is not None and self.seconds >= most * self.share:
                raise BudgetSpent("time")
            self.ledger.reserve(reserved)
            self.journal.asked(key, model, reserved, self.seconds)
            spent = reserved  # where nobody knows
            try:
                found = await run()
                spent = found.spent
                self.journal.answered(key, spent, found.answer)
            except CallFailed as error:
                spent = reserved if error.spent is None else error.spent
                self.journal.failed(key, spent, str(error))
                raise
            finally:
                self.ledger.settle(reserved, spent)
            return self._answer(key)

    def _answer(self, key: str) -> Any:
        if key not in self._met:
            self._met.add(key)
            self.used += self.journal.costs[key]
        return self.journal.answers[key]
