"""What a pattern's prompt learns from in the next generation (iPET).

Schick and Schütze (EACL 2021, arXiv:2001.07676), section 3.4: a share of the other patterns'
prompts labels rows, and the rows of which they are sure are added to the labelled ones. A row is
drawn with a probability that is proportional to that of its label. The sets grow by a factor with
every generation, with the labels in the ratio of the labelled rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cuecard.lazy import np
from cuecard.tasks import content_hash
from cuecard.types import Prediction, Record

if TYPE_CHECKING:
    from numpy.random import Generator

GROWTH = 5.0
"""How many times as many rows as in the generation before; that of the paper."""
# Of the other patterns, those that label a pattern's rows.
_SHARE = 0.25


def some_others(own: int, count: int, rng: Generator) -> list[int]:
    """A quarter of the numbers below `count` without `own`, one at least, in order."""
    others = [number for number in range(count) if number != own]
    size = max(1, round(_SHARE * len(others)))
    return sorted(int(number) for number in rng.choice(others, size, replace=False))


def sure_rows(
    labelled: Sequence[Record],
    unlabelled: Sequence[Record],
    answers: Sequence[Prediction],
    growth: float,
    rng: Generator,
) -> list[Record]:
    """Rows with the labels they were answered with, to stand beside the labelled ones.

    Args:
        unlabelled: copies of labelled rows among them are not drawn.
        answers: of the unlabelled rows, with the probabilities of the labels.
        growth: how many times as many rows as labelled ones there are to be, these included.

    Returns:
        Of each label `growth - 1` times as many as are labelled so; fewer where fewer are answered
        so.
    """
    found: list[Record] = []
    known = {content_hash(record) for record in labelled}
    new = [n for n, record in enumerate(unlabelled) if content_hash(record) not in known]
    for label, count in sorted(Counter(str(record.target) for record in labelled).items()):
        own = [number for number in new if answers[number].answer == label]
        wanted = min(round((growth - 1) * count), len(own))
        if wanted == 0:
            continue
        sure = np.asarray([answers[number].probabilities[label] for number in own])
        drawn = rng.choice(own, wanted, replace=False, p=sure / sure.sum())
        found += [replace(unlabelled[number], target=label) for number in sorted(drawn)]
    return found
