"""The one loop of all searches: ask, race, tell, and at the end a fair comparison with the start.

Candidates race on training rows. The best of them and the prompt that was to be improved answer the
validation rows, all of them; the best there is kept, and of equals the one that was there before.
A prompt with the full score on all of these rows ends a search: nothing can be better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuecard.errors import ConfigError
from cuecard.lazy import np
from cuecard.search.asker import Asker
from cuecard.search.budget import Amount, BudgetSpent
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate
from cuecard.search.costs import SearchNeeds
from cuecard.search.found import Found
from cuecard.search.model import SearchModel
from cuecard.search.race import Racer, race, raced_rows
from cuecard.search.searcher import Searcher, SearchState
from cuecard.search.settings import SearchSettings
from cuecard.search.solver import Solver, fits
from cuecard.tasks import Task
from cuecard.training.storage.log import Observer
from cuecard.types import Record
from cuecard.validation_text import counted

_NOTHING = Amount()
# The share of the time after which there are no more rounds, so that some is left for the finals.
_TIME = 0.8
_LEAST_ROWS = 4
# Rounds in a row that bring nothing new.
_IDLE = 3


class Search:
    """A search for a task's words.

    Args:
        task: with training and validation rows; its test rows are not looked at.
        start: the prompt that is to be improved.
        solver: what answers.
        asker: the LLM that writes; None for searchers that need none.
        model: the backbone that answers, for searchers that look into it.
        policy: what rlprompt writes with; by default the model.
        others: prompts that race with the start before the first round.
        observer: is told of every round.
        after: what must be left at the end, for what follows a search.

    Raises:
        ConfigError: next to no rows to compare prompts on.
    """

    def __init__(
        self,
        task: Task,
        start: PromptCandidate,
        searcher: Searcher,
        solver: Solver,
        calls: Calls,
        settings: SearchSettings,
        *,
        asker: Asker | None = None,
        model: SearchModel | None = None,
        policy: SearchModel | None = None,
        others: Sequence[PromptCandidate] = (),
        observer: Observer | None = None,
        after: Amount = _NOTHING,
    ) -> None:
        self._task, self._start, self._searcher = task, start, searcher
        self._solver, self._calls, self._settings = solver, calls, settings
        self._asker, self._model, self._others = asker, model, others
        self._policy = policy or model
        self._after = after
        self._tell = observer or (lambda event: None)
        self._rows = raced_rows(task.train, settings)
        _check_rows(len(self._rows), len(task.validation))
        raced = {id(record) for record in self._rows}
        # One that stands solved in a prompt would be right for no merit of it.
        self._shown = tuple(record for record in task.train if id(record) not in raced)
        self._known: dict[str, Racer] = {}
        # Those that answered the validation rows.
        self._validated: dict[str, Racer] = {}
        self._told: list[dict[str, Any]] = []
        # With another budget there may be more rounds.
        self._ended = f"rounds within {calls.ledger.budget}"

    @property
    def compared(self) -> tuple[Record, ...]:
        """The rows that candidates are compared on: none of them is shown."""
        return (*self._rows, *self._task.validation)

    async def run(self) -> Found:
        """Search until the budget, the rounds or the ideas are spent, or nothing can be better.

        Raises:
            ConfigError: a budget that is too small to compare anything.
            LLMError: a model that does not answer.
        """
        needs = self.needs
        await self._of_start(needs)
        held, after = self._held(needs)
        self._calls.share = _TIME
        try:
            rounds, ended = await self._rounds(needs.from_race)
            self._calls.share = 1.0
            self._calls.ledger.settle(held, Amount())
            held = Amount()
            finals = await self._finals()
        finally:
            self._calls.share = 1.0
            self._calls.ledger.settle(held + after, Amount())
        kept = max(finals, key=lambda racer: racer.score)  # of equals the start, which is first
        return Found(
            best=kept.candidate,
            start=self._start,
            finals=tuple(sorted(finals, key=lambda racer: racer.score, reverse=True)),
            ranked=tuple(self._ranked()),
            rounds=rounds,
            ended=ended,
            spent=self._calls.ledger.spent,
            told=tuple(self._told),
        )

    @property
    def needs(self) -> SearchNeeds:
        """What it will take; nothing is asked."""
        bases = (self._start, *self._others)
        firsts = [self._state(0, [Racer(base)]) for base in bases]
        return SearchNeeds(self._task, self._rows, self._searcher, firsts, self._after)

    async def _of_start(self, needs: SearchNeeds) -> None:
        """The start's answers to the validation rows, without which nothing can be compared."""
        try:
            first = await self._validate(self._start)
            own = self._known[self._start.key] = Racer(self._start)
            await race([own], self._solver, self._rows, block=self._settings.block)
        except BudgetSpent as error:
            raise needs.too_small(error) from error
        self._tell({"event": "start", "validation": first.score, "rows": len(first.answers)})
        self._tell_scored(own)

    async def _validate(self, candidate: PromptCandidate) -> Racer:
        if candidate.key not in self._validated:
            answers = await self._solver.judge(candidate, self._task.validation)
            self._validated[candidate.key] = Racer(candidate, answers)
        return self._validated[candidate.key]

    def _held(self, needs: SearchNeeds) -> tuple[Amount, Amount]:
        """Set aside what the finalists take on validation rows, and what must be left after them.

        In a later sitting it is what is left.
        """
        if self._ended in self._calls.journal.answers:
            return Amount(), Amount()
        try:
            self._calls.ledger.reserve(needs.finals + self._after)
        except BudgetSpent as error:
            raise needs.too_small(error) from error
        return needs.finals, self._after

    async def _rounds(self, aside: Amount) -> tuple[int, str]:
        """How many rounds there were, and why no more; `aside` as in `SearchState`."""
        number = idle = 0
        ended = counted(self._settings.rounds, "round")
        last = self._calls.journal.answers.get(self._ended)
        while number < self._settings.rounds:
            if last is not None and number == last[0]:
                break
            try:
                if await self._perfect():
                    ended = self._full
                    break
                if not number:
                    await self._race(self._others)
                new = await self._round(number, aside)
            except BudgetSpent as error:
                ended = str(error)
                break
            number += 1
            idle = 0 if new else idle + 1
            if idle == _IDLE:
                ended = f"nothing new in {_IDLE} rounds"
                break
        found = self._calls.note(self._ended, [number, ended])
        return found[0], found[1]

    async def _perfect(self) -> bool:
        """Whether a prompt has the full score on all rows there are.

        Those that have it on the raced rows answer the validation rows at once, and are finalists.

        Raises:
            BudgetSpent: there is not enough left for that.
        """
        for racer in self._ranked():
            if not _is_full(racer, self._rows):
                return False
            if len(self._validated) <= self._settings.finalists:  # the start is one of them
                await self._validate(racer.candidate)
            if self._is_perfect(racer.candidate):
                return True
        return False

    def _is_perfect(self, candidate: PromptCandidate) -> bool:
        raced, validated = (each.get(candidate.key) for each in (self._known, self._validated))
        return _is_full(raced, self._rows) and _is_full(validated, self._task.validation)

    @property
    def _full(self) -> str:
        rows = counted(len(self._rows), "training row")
        return f"full score on all {rows} and {len(self._task.validation):,} validation rows"

    async def _round(self, number: int, aside: Amount) -> int:
        """Propose and race; how many candidates were new."""
        state = self._state(number, self._ranked(), aside)
        new = await self._race(await self._searcher.propose(state, self._settings.proposals))
        top = self._ranked()[0]
        self._tell(
            {
                "event": "round",
                "round": number + 1,
                "candidates": new,
                "best": top.score,
                "origin": top.candidate.origin,
                **self._used,
            }
        )
        return new

    def _state(self, number: int, ranked: Sequence[Racer], aside: Amount = _NOTHING) -> SearchState:
        return SearchState(
            spec=self._task.spec,
            train=self._shown,
            start=self._start,
            ranked=ranked,
            round=number,
            rng=np.random.default_rng((self._settings.seed, number)),
            asker=self._asker,
            solver=self._solver,
            calls=self._calls,
            tell=self._hear,
            model=self._model,
            policy=self._policy,
            settings=self._settings,
            aside=aside,
        )

    async def _race(self, proposed: Sequence[PromptCandidate]) -> int:
        """Race with the best so far; how many were new."""
        block = self._settings.block
        new = {each.key: each for each in proposed if each.key not in self._known}
        usable = [each for each in new.values() if fits(self._solver, each, self._rows[:1])]
        if not usable:
            return 0
        racers = [Racer(each) for each in (self._ranked()[0].candidate, *usable)]
        try:
            await race(racers, self._solver, self._rows, block=block)
        finally:  # what was answered counts, also where the budget ends
            for racer in filter(lambda each: each.answers, racers):
                known = self._known.get(racer.candidate.key)
                if known is None or len(racer.answers) > len(known.answers):
                    self._known[racer.candidate.key] = racer
                if known is None:
                    self._tell_scored(racer)
        return len(usable)

    @property
    def _used(self) -> dict[str, int]:
        """What was spent so far; of a resumed search as it was then."""
        return {"calls": self._calls.used.calls, "tokens": self._calls.used.tokens}

    def _tell_scored(self, racer: Racer) -> None:
        self._tell({"event": "scored", **racer.told(self._task.spec), **self._used})

    def _hear(self, event: dict[str, Any]) -> None:
        self._told.append(event)
        self._tell(event)

    def _ranked(self) -> list[Racer]:
        """Best first: those that ran to the end before those that dropped out."""

        def rank(racer: Racer) -> tuple[int, float, int]:
            return len(racer.answers), racer.score, -racer.candidate.length

        return sorted(self._known.values(), key=rank, reverse=True)

    async def _finals(self) -> list[Racer]:
        """The start, those that have answered the validation rows before, then the next best."""
        before = [racer.candidate for racer in self._validated.values()]
        ranked = [racer.candidate for racer in self._ranked()]
        finals: list[Racer] = []
        for candidate in {each.key: each for each in [*before, *ranked]}.values():
            if len(finals) > self._settings.finalists:
                break
            if finals and self._is_perfect(finals[-1].candidate):
                break  # as the others cannot be better
            try:
                finals.append(await self._validate(candidate))
            except BudgetSpent:
                break
            if len(finals) > 1:
                told = {"validation": finals[-1].score, **finals[-1].named()}
                self._tell({"event": "final", **told})
        return finals


def _is_full(racer: Racer | None, rows: Sequence[Record]) -> bool:
    """Whether a racer has the full score on so many rows."""
    answers = [] if racer is None else racer.answers
    return len(answers) == len(rows) and all(each.score >= 1 for each in answers)


def _check_rows(raced: int, validation: int) -> None:
    """Refuse to compare prompts on next to no rows."""
    if min(raced, validation) < _LEAST_ROWS:
        raise ConfigError(
            "there are too few rows for a search that means anything",
            where="the data",
            got=f"{counted(raced, 'training row')} to race on, "
            f"{counted(validation, 'validation row')}",
            expected=f"{_LEAST_ROWS} of each or more: {2 * _LEAST_ROWS} training rows",
        )
