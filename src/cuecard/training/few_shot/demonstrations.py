"""Which solved rows are shown in front of others.

Gao, Fisch and Chen, "Making Pre-trained Language Models Better Few-shot Learners" (ACL 2021,
arXiv:2012.15723), section 6: a set has one row of each label, and rows that are unlike the input
are left out. There they are chosen anew for every input. Here a set is part of a template, the same
for all inputs, so that the rows left out are those that are unlike the other training rows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cuecard.evaluation.baselines.text_vectors import has_text_vectors, text_vectors
from cuecard.tasks import TaskSpec
from cuecard.tasks.text_features import text_of
from cuecard.types import Backbone, Record


def typical_rows(backbone: Backbone, spec: TaskSpec, rows: Sequence[Record]) -> list[Record]:
    """Of each label the half of the rows, at least one, that are most like all rows on average.

    By the cosine of the backbone's own text vectors; all rows where it has none.
    """
    if not has_text_vectors(backbone):
        return list(rows)
    vectors = text_vectors(backbone, [text_of(spec, record) for record in rows])
    like = vectors @ vectors.mean(0)
    kept: set[int] = set()
    for label in spec.labels:
        own = [number for number, record in enumerate(rows) if spec.label_of(record) == label]
        ranked = sorted(own, key=lambda number: (-float(like[number]), number))
        kept.update(ranked[: (len(own) + 1) // 2])
    return [record for number, record in enumerate(rows) if number in kept]


def draw_sets(
    spec: TaskSpec, rows: Sequence[Record], count: int, seed: int
) -> list[tuple[Record, ...]]:
    """So many sets of one row of each label that there is, the labels in a drawn order.

    A label's rows are all drawn before one is drawn again.
    """
    drawn = random.Random(f"demonstrations {seed}")
    piles: dict[str, list[Record]] = {label: [] for label in spec.labels}
    every = {label: [r for r in rows if spec.label_of(r) == label] for label in spec.labels}
    sets = []
    for _ in range(count):
        shown = []
        for label, own in every.items():
            if not piles[label]:
                piles[label] = drawn.sample(own, len(own))
            if piles[label]:
                shown.append(piles[label].pop())
        drawn.shuffle(shown)
        sets.append(tuple(shown))
    return sets
