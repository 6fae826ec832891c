"""A user's own function as a score."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError, DataError
from cuecard.metrics.scores.row_score import AnswerScore, record_name
from cuecard.types import Record


def function_score(name: str) -> AnswerScore:
    """The score of a function `(answer: str, target: str, record: dict[str, str]) -> float`.

    `record` has the row's fields as texts. Its value is to depend on these alone: a search that
    is resumed calls it again.

    Args:
        name: "module:function"; the module is looked for in the working directory too.

    Raises:
        ConfigError: it cannot be imported, or is no function.
    """
    function = _imported(name)

    def score(answer: str, target: str, record: Record) -> object:
        try:
            return function(answer, target, dict(record.texts))
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            raise DataError(
                "the score's function failed",
                where=f"{name}, {record_name(record, 1)}",
                got=f"{type(error).__name__}: {error} for the answer {answer[:80]!r}",
                expected="a number from 0 to 1",
                hint="nothing is lost: fix the function, and resume",
            ) from error

    return score


def _imported(name: str) -> Callable[..., Any]:
    module, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as Python itself does for scripts, and not for commands
        sys.path.insert(0, here)
    try:
        found: Any = reduce(getattr, path.split("."), import_module(module))
    except (Exception, SystemExit) as error:  # what a user's module does when it is imported
        raise ConfigError(
            "the score's function cannot be imported",
            where=name,
            got=f"{type(error).__name__}: {error}",
            expected="module:function, importable from here",
        ) from error
    if not callable(found):
        raise ConfigError(
            "the score is not a function",
            where=name,
            got=type(found).__name__,
            expected="a function of the answer, the target and the record",
        )
    function: Callable[..., Any] = found
    return function
