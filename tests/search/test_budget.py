"""What a search may spend, its journal, and calls that are made once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConfigError, DataError
from cuecard.search.budget import Amount, BudgetSpent, Ledger, SearchBudget
from cuecard.search.calls import CallAnswer, CallFailed, Calls
from cuecard.search.journal import Journal

MOST = Amount(calls=1, tokens=40, money=400)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("500 calls", SearchBudget(calls=500)),
        ("1 call", SearchBudget(calls=1)),
        ("2M tokens, 10m", SearchBudget(tokens=2_000_000, seconds=600.0)),
        ("$1.50,30k tokens", SearchBudget(money=1_500_000, tokens=30_000)),
        ("1.5h", SearchBudget(seconds=5400.0)),
        ("90s", SearchBudget(seconds=90.0)),
    ],
)
def test_limits_as_users_write_them(text: str, limits: SearchBudget) -> None:
    assert SearchBudget.parse(text) == limits


@pytest.mark.parametrize(
    "text", ["", "many calls", "90", "5x", "$", "0 calls", "-1 calls", "1m,2m"]
)
def test_limits_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="the search budget cannot be read"):
        SearchBudget.parse(text)


def test_what_is_reserved_counts_until_it_is_settled() -> None:
    ledger = Ledger(SearchBudget(tokens=100))
    ledger.reserve(Amount(tokens=60))
    with pytest.raises(BudgetSpent, match="tokens"):
        ledger.reserve(Amount(tokens=41))
    ledger.settle(Amount(tokens=60), Amount(tokens=10))
    ledger.reserve(Amount(tokens=90))
    assert ledger.spent == Amount(tokens=10)


class Killed(BaseException):
    """The process ends here."""


class Model:
    """Answers what it is asked, and counts what it is paid."""

    def __init__(self) -> None:
        self.paid: dict[str, int] = {}
        self.tokens = 0
        self.dies_in = 10**9

    async def answer(self, asked: str) -> CallAnswer:
        self.die()
        await asyncio.sleep(0)
        spent = Amount(calls=1, tokens=10 + len(asked), money=7)
        self.paid[asked] = self.paid.get(asked, 0) + 1
        self.tokens += spent.tokens
        self.die()
        return CallAnswer({"text": asked.upper()}, spent)

    def die(self) -> None:
        self.dies_in -= 1
        if self.dies_in < 0:
            raise Killed


def search(path: Path, model: Model, budget: SearchBudget) -> tuple[list[Any], Calls]:
    """Thirty calls, some of them the same."""
    calls = Calls(Journal(path, "a search"), budget)

    async def run() -> list[Any]:
        found = []
        for number in range(30):
            asked = f"question {number % 25}"
            found.append(await calls.make(asked, "a-model", MOST, lambda q=asked: model.answer(q)))
        return found

    return asyncio.run(run()), calls


def test_a_search_that_is_killed_pays_for_no_answer_twice(tmp_path: Path) -> None:
    whole, _ = search(tmp_path / "whole.jsonl", Model(), SearchBudget())
    draw = random.Random(0)
    for trial in range(40):
        path, model, kills = tmp_path / f"{trial}.jsonl", Model(), 0
        answered: set[str] = set()
        while True:
            model.dies_in = draw.randrange(1, 40)
            before = dict(model.paid)
            try:
                found, calls = search(path, model, SearchBudget())
                break
            except Killed:
                kills += 1
                if draw.random() < 0.3:  # in the middle of a line
                    with path.open("ab") as file:
                        file.write(b'{"answered": "ques')
            finally:
                again = {asked for asked in before if model.paid[asked] > before[asked]}
                assert not again & answered
                answered |= set(Journal(path, "a search").answers)
        assert found == whole
        assert calls.ledger.spent.tokens >= model.tokens
        assert sum(model.paid.values()) <= 25 + kills


def test_a_limit_is_never_passed(tmp_path: Path) -> None:
    draw = random.Random(1)
    for trial in range(25):
        limit = draw.randrange(50, 700)
        path, model = tmp_path / f"{trial}.jsonl", Model()
        for _ in range(8):
            model.dies_in = draw.randrange(1, 40)
            with contextlib.suppress(Killed, BudgetSpent):
                search(path, model, SearchBudget(tokens=limit))
            assert model.tokens <= limit


def test_calls_at_once_reserve_for_each(tmp_path: Path) -> None:
    model, calls = Model(), Calls(Journal(None, ""), SearchBudget(tokens=100))

    async def run() -> list[Any]:
        asked = [f"question {number}" for number in range(4)]
        return await asyncio.gather(
            *(calls.make(q, "m", MOST, lambda q=q: model.answer(q)) for q in asked),
            return_exceptions=True,
        )

    found = asyncio.run(run())
    assert sum(isinstance(each, BudgetSpent) for each in found) == 2 and model.tokens <= 100


def test_a_call_that_fails_may_be_made_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    calls = Calls(Journal(path, "x"), SearchBudget())

    async def failing() -> CallAnswer:
        raise CallFailed("rate limit", Amount(calls=1))

    async def run() -> Any:
        with pytest.raises(CallFailed):
            await calls.make("q", "m", MOST, failing)
        return await calls.make("q", "m", MOST, lambda: Model().answer("q"))

    assert asyncio.run(run()) == {"text": "Q"}
    assert calls.ledger.spent == Amount(calls=2, tokens=11, money=7)
    again = Journal(path, "x")
    assert again.spent == calls.ledger.spent and again.answers == {"q": {"text": "Q"}}


def test_time_is_that_of_all_sittings(tmp_path: Path) -> None:
    now = [0.0]

    def sitting(path: Path) -> Calls:
        return Calls(Journal(path, "x"), SearchBudget(seconds=10), clock=lambda: now[0])

    path = tmp_path / "journal.jsonl"
    first = sitting(path)
    now[0] = 6.0
    asyncio.run(first.make("a", "m", MOST, lambda: Model().answer("a")))
    now[0] = 1000.0  # of another process
    second = sitting(path)
    now[0] = 1003.0
    asyncio.run(second.make("b", "m", MOST, lambda: Model().answer("b")))
    now[0] = 1004.5
    with pytest.raises(BudgetSpent, match="time"):
        asyncio.run(second.make("c", "m", MOST, lambda: Model().answer("c")))
    assert asyncio.run(second.make("b", "m", MOST, lambda: Model().answer("b")))  # costs nothing


def test_the_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    begun = Journal(path, "one")
    assert not path.exists()  # nothing was called yet, so that any search may begin here
    begun.answered("a", Amount(), 1)
    with pytest.raises(ConfigError, match="journal of another search"):
        Journal(path, "two")
    path.write_text(path.read_text() + "[1]\n" + json.dumps({"asked": "x"}) + "\n")
    with pytest.raises(DataError, match="no entry") as caught:
        Journal(path, "one")
    assert str(caught.value.where).endswith("line 3")
