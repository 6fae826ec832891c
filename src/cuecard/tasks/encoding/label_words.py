"""The tokens of labels' words, and label scores from what a model gives for them.

A label's score is log p(its tokens | context). Where the tokens of one label begin another's
("home" and "home improvement"), the longer one can then never score above the shorter one, since
p("home improvement") <= p("home"). With exclusive labels the shorter one counts only what does not
go on as the longer one:

    score(w) = log p(w) + log(1 - sum over t in barred(w) of p(t | w))

where barred(w) are the tokens that follow w in other labels. The labels are then disjoint events,
and nothing else has to be computed: p(t | w) is part of the longer labels' scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cuecard.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


TokenIds = tuple[int, ...]

# log(1 - p) is cut here: a float32 log-probability is no nearer to 0 than this.
_SURE = -1e-6


@dataclass(frozen=True)
class LabelWords:
    """The token ids of labels, in the labels' order.

    Attributes:
        words: each label's token ids.
        barred: per label the tokens that do not follow its own, because they begin the rest of
            another label's; empty for most.
    """

    words: tuple[TokenIds, ...]
    barred: tuple[TokenIds, ...]

    @classmethod
    def of(cls, words: Sequence[TokenIds], *, exclusive: bool) -> LabelWords:
        """Labels that exclude each other, or that are scored by the sums of their tokens alone."""
        after: dict[TokenIds, dict[int, None]] = {word: {} for word in words}
        if exclusive:
            for word in words:
                for length in range(1, len(word)):
                    if word[:length] in after:
                        after[word[:length]][word[length]] = None
        return cls(tuple(words), tuple(tuple(after[word]) for word in words))

    def __len__(self) -> int:
        return len(self.words)

    @property
    def single(self) -> bool:
        """Whether every label is one token."""
        return all(len(word) == 1 for word in self.words)

    @property
    def longest(self) -> int:
        """The most tokens of a label."""
        return max(map(len, self.words))

    @property
    def lengths(self) -> Tensor:
        """[L] float64 the tokens of each label, which `normalize: length` divides its score by."""
        return torch.tensor([len(word) for word in self.words], dtype=torch.float64)

    @cached_property
    def asked(self) -> tuple[TokenIds, ...]:
        """The words whose log-probabilities `scores` needs: the labels', then the barred ones."""
        pairs = zip(self.words, self.barred, strict=True)
        return (*self.words, *((*word, token) for word, tokens in pairs for token in tokens))

    def scores(self, sums: Tensor) -> Tensor:
        """Labels' scores [..., L] from the log-probabilities [..., A] of the `asked` words."""
        own = sums[..., : len(self)]
        if not any(self.barred):
            return own
        found, start = list(own.unbind(-1)), len(self)
        for label, tokens in enumerate(self.barred):
            if tokens:
                longer = sums[..., start : start + len(tokens)] - own[..., label : label + 1]
                found[label] = found[label] + log_rest(longer)
                start += len(tokens)
        return torch.stack(found, -1)

    def some(self, chosen: Sequence[int]) -> LabelWords:
        """Only these labels, each barred from the same tokens as among all of them."""
        return LabelWords(
            tuple(self.words[label] for label in chosen),
            tuple(self.barred[label] for label in chosen),
        )


def log_rest(logs: Tensor) -> Tensor:
    """log(1 - sum of p) [...] from log-probabilities [..., K] of tokens after one context."""
    together = logs.logsumexp(-1).clamp(max=_SURE)
    return torch.log(-torch.expm1(together))
