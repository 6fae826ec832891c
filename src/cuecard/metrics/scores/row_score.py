"""What a score of one answer is, and how what it returns is checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

from cuecard.errors import DataError
from cuecard.types import Record

AnswerScore = Callable[[str, str, Record], object]
"""An answer, its target and its record -> what the answer is worth, from 0 to 1."""


def record_name(record: Record, number: int) -> str:
    """What messages call a row: its file and place, or its number among those that are scored."""
    return f"{record.source or 'records'}, row {record.row or number}"


def checked_share(value: object, where: str) -> float:
    """A score's value.

    Raises:
        DataError: anything but a number from 0 to 1.
    """
    number = float(value) if isinstance(value, Real) else math.nan
    if not 0.0 <= number <= 1.0:
        raise DataError(
            "the score is not a number from 0 to 1",
            where=where,
            got=repr(value)[:200],
            expected="a number from 0 to 1, such as 0.5; True and False are 1 and 0",
            hint="answers that were given before are not lost: mend it and go on",
        )
    return number
