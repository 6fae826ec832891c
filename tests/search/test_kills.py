"""Searches whose process is killed at any moment: between two lines, in a call, in a line.

60 kills, shared by all searchers; `CUECARD_SEARCH_KILLS=1000 pytest tests/search/test_kills.py`
makes more of them.
"""

from __future__ import annotations

import os
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from cuecard.errors import ConfigError
from cuecard.llms.prices import Price
from cuecard.llms.protocol import LLMAnswer, LLMRequest
from cuecard.llms.scripted import ScriptedLLM
from cuecard.search.asker import request_key
from cuecard.search.budget import Amount, SearchBudget
from cuecard.search.found import Found
from cuecard.search.journal import FILE, Journal
from cuecard.search.settings import SearchSettings
from support.scripted_search import NO_LIMITS, SCRIPTED, search, told, world

KILLS = int(os.environ.get("CUECARD_SEARCH_KILLS", "60"))
SETTINGS = SearchSettings(
    rows=10, proposals=3, rounds=3, finalists=2, block=5, step_rows=2, population=4
)
ROWS, PRICE = 50, Price(1.0, 2.0)


class Killed(BaseException):
    """The process ends here."""


class Death:
    """Comes after so many moments; from then on nothing is done and nothing is written.

    Attributes:
        left: what is on disk of the journal; None while the process lives.
    """

    def __init__(self, journal: Path, moments: int, draw: random.Random) -> None:
        self._journal, self._moments, self._draw = journal, moments, draw
        self.left: bytes | None = None

    def may_come(self, writing: bool = False) -> None:
        self._moments -= 1
        if self._moments > 0:
            return
        if self.left is None:
            self.left = self._journal.read_bytes()
            if writing:  # the last line may be there in part
                line = self.left.rfind(b"\n", 0, -1) + 1
                self.left = self.left[: self._draw.randrange(line, len(self.left) + 1)]
        raise Killed


class MortalLLM(ScriptedLLM):
    """Answers and is paid, while the process lives."""

    def __init__(self, death: Death) -> None:
        super().__init__(world()._answer)
        self._death = death
        self.paid: list[str] = []
        self.took = Amount()

    async def complete(self, request: LLMRequest) -> LLMAnswer:
        self._death.may_come()
        found = await super().complete(request)
        self.paid.append(request_key(self.name, request))
        self.took += Amount(1, found.usage.tokens, PRICE.of(found.usage))
        self._death.may_come()
        return found


def killed_search(
    name: str, folder: Path, budget: SearchBudget, draw: random.Random, moments: int
) -> tuple[Found | None, int]:
    """What a search that is killed again and again leads to, and how often it was killed."""
    journal, kills, took = folder / FILE, 0, Amount()
    while True:
        answered = set(Journal(journal, name).answers) if journal.exists() else set()
        death = Death(journal, draw.randrange(1, moments), draw)
        llm, found, ended = MortalLLM(death), None, False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda number, d=death: d.may_come(writing=True))
            try:
                found, ended = search(name, folder, llm, budget, SETTINGS, ROWS), True
            except Killed:
                assert death.left is not None
                journal.write_bytes(death.left)
                kills += 1
            except ConfigError:  # cut off calls have taken what the start needs
                ended = True
        assert answered.isdisjoint(llm.paid) and len(set(llm.paid)) == len(llm.paid)
        took += llm.took
        assert budget.allows(took) is None
        if ended:
            kept = Journal(journal, name)
            assert set(llm.paid) <= set(kept.answers)
            assert all(value >= 0 for value in asdict(kept.spent - took).values())
            return found, kills


@pytest.mark.parametrize("name", SCRIPTED)
def test_no_answer_is_paid_for_twice_and_no_limit_is_passed(name: str, tmp_path: Path) -> None:
    whole = search(name, settings=SETTINGS, rows=ROWS)
    draw, kills, trial = random.Random(name), 0, 0
    while kills < KILLS / len(SCRIPTED):
        trial += 1
        budget = NO_LIMITS
        if trial % 2 == 0:
            most = {
                key: int(value * draw.uniform(0.6, 1.5))
                for key, value in asdict(whole.spent).items()
            }
            budget = SearchBudget(**most)
        folder, moments = tmp_path / str(trial), 2 * whole.spent.calls
        found, more = killed_search(name, folder, budget, draw, moments)
        kills += more
        assert budget != NO_LIMITS or (found is not None and told(found) == told(whole))
