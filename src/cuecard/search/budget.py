"""What a search may spend, and what it has spent: calls, tokens, money, seconds.

What a call takes at most is reserved before it and settled after it, so that no limit is ever
passed. Money is counted in millionths of a dollar, whole ones: sums of floats would pass a limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from cuecard.errors import ConfigError
from cuecard.validation_text import counted

MICRO = 1_000_000
"""Of a dollar."""

USUAL = "--search-budget"
"""Where a search's budget is given."""

_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6}
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]?)")


@dataclass(frozen=True, slots=True)
class Amount:
    """What something takes, or took.

    Attributes:
        calls: requests, or rows that a backbone in this process answered.
        tokens: read and written.
        money: in millionths of a dollar.
    """

    calls: int = 0
    tokens: int = 0
    money: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.calls + other.calls, self.tokens + other.tokens, self.money + other.money
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            self.calls - other.calls, self.tokens - other.tokens, self.money - other.money
        )

    def __mul__(self, count: int) -> Amount:
        return Amount(count * self.calls, count * self.tokens, count * self.money)

    def at_least(self, other: Amount) -> Amount:
        """The larger one of each."""
        return Amount(
            max(self.calls, other.calls),
            max(self.tokens, other.tokens),
            max(self.money, other.money),
        )

    @property
    def text(self) -> str:
        """In words."""
        took = f"{counted(self.calls, 'call')}, {counted(self.tokens, 'token')}"
        return f"{took}, ${self.money / MICRO:.4f}"

    @property
    def cells(self) -> tuple[str, str, str]:
        """For tables: calls, tokens, dollars."""
        return f"{self.calls:,}", f"{self.tokens:,}", f"{self.money / MICRO:.4f}"

    def priced(self) -> dict[str, float]:
        """For reports: its money in dollars."""
        return {"calls": self.calls, "tokens": self.tokens, "dollars": self.money / MICRO}

    @classmethod
    def of(cls, values: Mapping[str, int]) -> Self:
        """From what `asdict` made of one."""
        return cls(**{field.name: int(values.get(field.name, 0)) for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class SearchBudget:
    """Limits, of all models together; None where there is none.

    Attributes:
        calls, tokens, money: as in `Amount`.
        seconds: of wall time, over all sittings.
    """

    calls: int | None = None
    tokens: int | None = None
    money: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str, flag: str = USUAL) -> Self:
        """ "500 calls", "2M tokens", "$1.50", "10m"; several of them separated by commas.

        Args:
            flag: where it is given, for messages.

        Raises:
            ConfigError: anything else, or a limit given twice.
        """
        found: dict[str, Any] = {}
        for part in text.split(","):
            name, amount = _limit(part.strip(), text, flag)
            if name in found:
                raise _unreadable(text, f"{name} twice", flag)
            found[name] = amount
        return cls(**found)

    def text(self, limit: str) -> str:
        """One of its limits in words, such as "500 calls"; "" for one that it does not have.

        Args:
            limit: "calls", "tokens", "money" or "time".
        """
        value = getattr(self, "seconds" if limit == "time" else limit)
        if value is None:
            return ""
        if limit == "money":
            return f"${value / MICRO:.2f}"
        return f"{value:g} seconds" if limit == "time" else f"{value:,} {limit}"

    def allows(self, amount: Amount) -> str | None:
        """The limit that this would pass; None if it passes none."""
        for name, value in asdict(amount).items():
            most = getattr(self, name)
            if most is not None and value > most:
                return name
        return None


class BudgetSpent(Exception):  # noqa: N818 - it ends a search, and is no failure
    """There is not enough left for the next call.

    Args:
        limit: the limit that it would pass.
        flag: where the budget is given.
        left: whether there is something left, though not enough.
    """

    def __init__(self, limit: str, flag: str = USUAL, *, left: bool = False) -> None:
        where = "" if flag == USUAL else f" ({flag})"
        what = f"the budget of {limit} is spent"
        if left:
            what = f"what is left of the budget of {limit} is too little to go on"
        super().__init__(f"{what}{where}")
        self.limit, self.flag = limit, flag


class Ledger:
    """What is spent and what is reserved, within limits.

    Args:
        budget: the limits.
        spent: in earlier sittings.
    """

    def __init__(self, budget: SearchBudget, spent: Amount = Amount()) -> None:
        self.budget, self.spent, self.reserved = budget, spent, Amount()

    def reserve(self, amount: Amount) -> None:
        """Set aside what a call takes at most.

        Raises:
            BudgetSpent: there is not enough left.
        """
        limit = self.budget.allows(self.spent + self.reserved + amount)
        if limit is not None:
            left = getattr(self.budget, limit) - getattr(self.spent + self.reserved, limit)
            raise BudgetSpent(limit, left=left > 0)
        self.reserved += amount

    def settle(self, reserved: Amount, spent: Amount) -> None:
        """Take what a call took from what was set aside for it."""
        self.reserved -= reserved
        self.spent += spent


def _limit(part: str, text: str, flag: str) -> tuple[str, float]:
    lowered = part.lower()
    if lowered.startswith("$"):
        return "money", math.floor(_number(lowered[1:], text, {"": 1.0}, flag) * MICRO + 1e-6)
    for name in ("calls", "tokens"):
        if lowered.endswith((name, name[:-1])):
            number = lowered.removesuffix("s").removesuffix(name[:-1])
            return name, math.floor(_number(number, text, _FACTORS, flag))
    return "seconds", _number(lowered, text, _UNITS, flag)


def _number(text: str, whole: str, units: Mapping[str, float], flag: str) -> float:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2] not in units or not float(match[1]):
        raise _unreadable(whole, repr(text.strip()), flag)
    return float(match[1]) * units[match[2]]


def _unreadable(text: str, got: str, flag: str) -> ConfigError:
    return ConfigError(
        "the search budget cannot be read",
        where=f"{flag} {text!r}",
        got=got,
        expected="such as '500 calls', '2M tokens', '$1.50', '10m' (minutes; also s and h), or "
        "several of them with commas between",
    )
