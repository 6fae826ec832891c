from __future__ import annotations

import math
import random

import pytest

from cuecard.engine.vllm.label_trie import loglikelihoods, next_tokens
from cuecard.errors import ConfigError


def test_words_that_begin_alike_ask_once() -> None:
    assert next_tokens([(1, 2), (1, 3), (4,)]) == [{(): (1, 4)}, {(1,): (2, 3)}]


def test_a_word_that_another_begins_with_is_asked_once() -> None:
    assert next_tokens([(1,), (1, 2), (1,)]) == [{(): (1,)}, {(1,): (2,)}]


def test_no_words_ask_nothing() -> None:
    assert next_tokens([]) == [] and loglikelihoods([], {}) == []


def test_a_word_without_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match="no tokens"):
        next_tokens([(1,), ()])


def test_scores_are_sums_along_each_word() -> None:
    rng = random.Random(0)
    words = [tuple(rng.choices(range(4), k=rng.randint(1, 5))) for _ in range(40)]
    asked = {start: wanted for level in next_tokens(words) for start, wanted in level.items()}
    found = {s: {t: -1.0 - t / 10 - len(s) for t in wanted} for s, wanted in asked.items()}
    expected = [sum(-1.0 - t / 10 - i for i, t in enumerate(word)) for word in words]
    assert all(map(math.isclose, loglikelihoods(words, found), expected))
