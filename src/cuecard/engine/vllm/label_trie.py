"""Words' log-likelihoods from next-token log-probabilities, each requested once.

log p(word) = sum over its tokens of log p(token | context, the word's tokens before). Words with a
common prefix share requests: "very good" and "very bad" request what follows "very" once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cuecard.errors import ConfigError

Start = tuple[int, ...]


def next_tokens(words: Sequence[Sequence[int]]) -> list[dict[Start, tuple[int, ...]]]:
    """What to ask, level by level: the start of a word -> the tokens that may follow it.

    The starts of a level are one token longer than those of the level before, so that what was
    computed for one level is cached for the next.

    Raises:
        ConfigError: a word without tokens.
    """
    levels: list[dict[Start, dict[int, None]]] = []
    for word in words:
        if not word:
            raise ConfigError(
                "a word has no tokens", where="words", got="()", expected="one token id or more"
            )
        for depth, token in enumerate(word):
            if depth == len(levels):
                levels.append({})
            levels[depth].setdefault(tuple(word[:depth]), {})[token] = None
    return [{start: tuple(wanted) for start, wanted in level.items()} for level in levels]


def loglikelihoods(
    words: Sequence[Sequence[int]], found: Mapping[Start, Mapping[int, float]]
) -> list[float]:
    """Per word the sum of its tokens' log-probabilities.

    Args:
        found: start -> token -> log-probability, for all that `next_tokens` asks.
    """
    return [
        sum(found[tuple(word[:depth])][token] for depth, token in enumerate(word)) for word in words
    ]
