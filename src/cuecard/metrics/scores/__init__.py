"""What a generated text is worth, as a user names it: `exact_match`, `regex:PATTERN`, `my:metric`.

One rule for all who score texts: a name becomes a function of an answer, its target and its record,
and what it returns is checked before it is believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from cuecard.errors import ConfigError
from cuecard.metrics.answers import exact_match, rouge_l, token_f1
from cuecard.metrics.scores.function_score import function_score
from cuecard.metrics.scores.json_schema import SchemaScore
from cuecard.metrics.scores.pattern import PatternScore
from cuecard.metrics.scores.row_score import AnswerScore, checked_share, record_name
from cuecard.types import Record

_NAMED: Mapping[str, Callable[[str, str], float]] = MappingProxyType(
    {"exact_match": exact_match, "token_f1": token_f1, "rouge_l": rouge_l}
)
"""Of the target and the answer."""

_MADE: Mapping[str, Callable[[str], AnswerScore]] = MappingProxyType(
    {"regex": PatternScore, "json-schema": SchemaScore}
)
"""What stands in front of the colon -> what is made of what stands behind it."""

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
FORMS = f"{', '.join(_NAMED)}, regex:PATTERN, json-schema:FILE or module:function"


class RowScores:
    """Scores answers by the rule that a user named.

    Args:
        name: one of `FORMS`.

    Raises:
        ConfigError: another name, a pattern or a schema that is none, a function that is not there.
    """

    def __init__(self, name: str) -> None:
        check_score_name(name)
        self.name = name
        head, _, rest = name.partition(":")
        if name in _NAMED:
            self._score = _of_texts(_NAMED[name])
        else:
            self._score = _MADE[head](rest) if head in _MADE else function_score(name)

    def __call__(
        self, records: Sequence[Record], targets: Sequence[str], answers: Sequence[str]
    ) -> list[float]:
        """What each answer is worth, from 0 to 1.

        Raises:
            DataError: a function that fails, or that returns something else, with its row.
        """
        rows = zip(answers, targets, records, strict=True)
        return [
            checked_share(self._score(*row), f"{self.name}, {record_name(row[2], number)}")
            for number, row in enumerate(rows, 1)
        ]


def check_score_name(name: str, more: str = "") -> None:
    """Refuse what cannot name a score; nothing is read or imported for it.

    Args:
        more: what else the message says that there is.

    Raises:
        ConfigError: it cannot.
    """
    head, colon, rest = name.partition(":")
    made = head in _MADE and rest != ""
    if name not in _NAMED and not made and not (colon and _FUNCTION.fullmatch(name)):
        raise ConfigError("there is no such score", where="score", got=name, expected=FORMS + more)


def _of_texts(compare: Callable[[str, str], float]) -> AnswerScore:
    return lambda answer, target, record: compare(target, answer)
