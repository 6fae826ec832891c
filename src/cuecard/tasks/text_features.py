"""TF-IDF of a record's texts: words and characters as features. scikit-learn comes when used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module
from cuecard.tasks.settings import TaskSettings
from cuecard.types import Record

sklearn_text = lazy_module("sklearn.feature_extraction.text")

_FEATURES = 100_000
# Up to so many characters of training text, n-grams of characters too take a second or two.
_MOST_CHARACTERS = 400_000


def text_of(spec: TaskSettings, record: Record) -> str:
    """A record's fields, in the template's order, a line each."""
    return "\n".join(record.text(name) for name in spec.field_names)


def vectorizers(texts: Sequence[str]) -> tuple[list[Any], str]:
    """What counts n-grams of one and two words, and of two to four characters in little text.

    Returns:
        scikit-learn's vectorizers, not fitted yet, and what they read in words.
    """
    words = sklearn_text.TfidfVectorizer(
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b",
        sublinear_tf=True,
        max_features=_FEATURES,
    )
    if sum(map(len, texts)) > _MOST_CHARACTERS:
        return [words], "1 and 2 words"
    characters = sklearn_text.TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=_FEATURES
    )
    return [words, characters], "1 and 2 words, 2 to 4 characters"


def fitted_words(texts: Sequence[str]) -> Any:
    """TF-IDF of one and two words, fitted.

    Raises:
        ConfigError: texts without a word.
    """
    try:
        return vectorizers(texts)[0][0].fit(texts)
    except ValueError as error:  # no words at all
        raise nothing_to_fit(str(error)) from error


def nothing_to_fit(got: str) -> ConfigError:
    """The error for training rows that a model cannot be fitted to."""
    return ConfigError(
        "the training rows leave nothing to fit", got=got, expected="texts with targets that differ"
    )
