"""Several searchers that share what they find; those that gain get the budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cuecard.errors import ConfigError
from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate
from cuecard.search.costs import of_longer
from cuecard.search.searcher import RunsModel, Searcher, SearchState
from cuecard.search.searchers import SEARCHERS, SearcherEntry, at_hand

# What counts of earlier turns, at each later turn of the same searcher.
_KEPT = 0.7
# A gain that every searcher is trusted with: without it, one that has gained nothing yet would
# never have another turn.
_HOPED = 0.005


@dataclass
class _Member:
    """A searcher, with what its turns brought and took.

    Attributes:
        turns: so far.
        gain: of the best score, older turns counting less.
        calls: as `gain`.
    """

    searcher: Searcher
    turns: int = 0
    gain: float = 0.0
    calls: float = 0.0

    @property
    def rate(self) -> float:
        """Gain per call, as it is hoped for."""
        return (self.gain + _HOPED) / self.calls if self.calls else math.inf

    def credit(self, gain: float, calls: int) -> None:
        """Count a turn."""
        self.gain, self.calls = _KEPT * self.gain + gain, _KEPT * self.calls + calls


@dataclass(frozen=True)
class _Turn:
    """Whose candidates race now, and how it was before."""

    name: str
    score: float
    calls: int


class Portfolio:
    """A bandit over searchers: each round is the turn of the one with the largest gain per call.

    Every searcher that is possible has a turn at half the number of candidates first, in the order
    of `SEARCHERS`. A gain is what the best score on the raced rows grew by; older ones count less,
    so that a searcher that has run dry gives way. All see all candidates, and improve the best one:
    an instruction is written for the demonstrations that were found before.
    """

    def __init__(self) -> None:
        self._members: dict[str, _Member] | None = None
        self._last: _Turn | None = None

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """Candidates of the searcher whose turn it is; of the next one where it has none."""
        if self._members is None:
            self._members = _members(state)
        if self._last is not None:
            gain = state.ranked[0].score - self._last.score
            self._members[self._last.name].credit(gain, _calls(state) - self._last.calls)
            self._last = None
        known = {racer.candidate.key for racer in state.ranked}
        for name, member in sorted(self._members.items(), key=lambda each: -each[1].rate):
            before = _calls(state)
            found = await self._asked(name, member, state, count)
            if any(each.key not in known for each in found):
                self._last = _Turn(name, state.ranked[0].score, before)
                state.tell({"event": "turn", "searcher": name})
                return found
            member.credit(0.0, _calls(state) - before)
        return []

    def most(self, state: SearchState, count: int) -> Amount:
        """See `RunsModel.most`: one that has nothing new gives its turn to the next."""
        return sum((_most(entry, state, count) for entry in _entries(state)[0].values()), Amount())

    async def _asked(
        self, name: str, member: _Member, state: SearchState, count: int
    ) -> list[PromptCandidate]:
        """What a searcher proposes; one that turns out to be impossible here is left out."""
        assert self._members is not None
        number = member.turns
        own = replace(state, start=state.best, round=number)
        member.turns += 1
        try:
            return await member.searcher.propose(own, count if number else max(2, count // 2))
        except ConfigError as error:
            self._members = {n: each for n, each in self._members.items() if n != name}
            state.tell({"event": "left out", "searchers": {name: error.what}})
            return []


def _members(state: SearchState) -> dict[str, _Member]:
    """Those that are possible here; tells which are, and why others are not."""
    found, out = _entries(state)
    state.tell({"event": "searchers", "names": list(found)})
    if out:
        state.tell({"event": "left out", "searchers": out})
    return {name: _Member(entry.make()) for name, entry in found.items()}


def _entries(state: SearchState) -> tuple[dict[str, SearcherEntry], dict[str, str]]:
    """Those that are possible here, and why others are not."""
    has = at_hand(
        llm=state.asker is not None,
        labels=bool(state.spec.labels),
        model=state.model is not None,
    )
    found: dict[str, SearcherEntry] = {}
    out: dict[str, str] = {}
    for name, entry in SEARCHERS.items():
        if entry.in_auto:
            missing = entry.missing(has)
            if missing is None:
                found[name] = entry
            else:
                out[name] = f"needs {missing}"
    return found, out


def _most(entry: SearcherEntry, state: SearchState, count: int) -> Amount:
    """What one runs beside the race at most, on prompts that are longer than the start."""
    searcher = entry.make()
    try:
        most = searcher.most(state, count) if isinstance(searcher, RunsModel) else Amount()
    except ConfigError:  # it will be left out
        return Amount()
    return of_longer(most, 1)


def _calls(state: SearchState) -> int:
    return state.calls.used.calls
