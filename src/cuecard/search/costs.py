"""What a search will take, before it begins: of every part at most, by the budget's own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from cuecard.llms.protocol import LLMMessage, LLMRequest
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.candidate import PromptCandidate
from cuecard.search.searchers.writing import LONGEST, shown
from cuecard.tasks import TaskSpec
from cuecard.types import Record

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


def of_longer(most: Amount, count: int) -> Amount:
    """What candidates take that are longer than the start, which takes `most`."""
    times = count * LONGER
    return Amount(count * most.calls, times * most.tokens, times * most.money)


def of_writing(
    asker: Asker, spec: TaskSpec, start: PromptCandidate, train: Sequence[Record], count: int
) -> Amount:
    """About what an LLM takes that is asked for so many candidates."""
    past = (start.prompt.instruction or "x " * (LONGEST // 4)) * _PAST
    text = f"{shown(spec, train[:_SOLVED])}\n\n{past}"
    request = LLMRequest((LLMMessage("user", text),), _WRITTEN, 1.0)
    return asker.most(request) * count
