"""A regular expression that an answer is to match, or that finds what is compared in it."""

from __future__ import annotations

from cuecard.errors import ConfigError, DataError
from cuecard.lazy import lazy_module
from cuecard.metrics.scores.row_score import record_name
from cuecard.types import Record

regex = lazy_module("regex")

# A pattern that a model's text makes slow ends here, which `re` cannot do.
_SECONDS = 2.0


class PatternScore:
    """1.0 where the pattern is found in the answer.

    With a group, what the first group finds is compared with the target: with what it finds there
    ("#### 18"), or with all of it, where the pattern is not in the target ("18").

    Args:
        pattern: in the syntax of Python's `re`.

    Raises:
        ConfigError: it is none.
    """

    def __init__(self, pattern: str) -> None:
        try:
            self._pattern = regex.compile(pattern)
        except regex.error as error:
            raise ConfigError(
                "the score's pattern cannot be read",
                where=f"regex:{pattern}",
                got=str(error),
                expected="a regular expression, such as 'answer is (\\d+)'",
            ) from error

    def __call__(self, answer: str, target: str, record: Record) -> float:
        """See the class."""
        try:
            found = self._pattern.search(answer, timeout=_SECONDS)
            if found is None or not self._pattern.groups:
                return float(found is not None)
            wanted = self._pattern.search(target, timeout=_SECONDS)
        except TimeoutError as error:
            raise DataError(
                "the score's pattern takes too long",
                where=f"{self._pattern.pattern!r}, {record_name(record, 1)}",
                got=f"more than {_SECONDS:g} s for {answer[:80]!r}",
                expected="a pattern without repetitions inside of repetitions",
            ) from error
        true = target if wanted is None else wanted[1]
        return float(found[1] is not None and found[1].strip() == (true or "").strip())
