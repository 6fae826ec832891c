"""Which labels a training row's own is compared with where there are many.

Sampled softmax (Bengio and Senecal, "Adaptive Importance Sampling to Accelerate Training of a
Neural Probabilistic Language Model", IEEE Transactions on Neural Networks 2008; Jean et al., "On
Using Very Large Target Vocabulary for Neural Machine Translation", ACL 2015, section 3): the
softmax over L labels is estimated from the true one and K others, drawn evenly without
replacement, each of which stands for (L - 1) / K labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuecard.lazy import np, torch
from cuecard.tasks import TaskSpec
from cuecard.types import Backbone, Encoded

if TYPE_CHECKING:
    from torch import Tensor


# The others that a row's own label is compared with.
NEGATIVES = 15


@dataclass(frozen=True, slots=True)
class Sample:
    """The labels of a batch's rows that are compared.

    Attributes:
        labels: per row the number of its own label, then those of the drawn ones; as many for all.
        total: how many labels there are.
    """

    labels: tuple[tuple[int, ...], ...]
    total: int

    def of(self, share: Callable[[Sequence[tuple[int, ...]]], Sequence[tuple[int, ...]]]) -> Sample:
        """The same for some of the rows."""
        return Sample(tuple(share(self.labels)), self.total)

    def weights(self, scores: Tensor) -> Tensor:
        """[K + 1] what is added to scores so that each drawn label stands for its share of all."""
        drawn = scores.shape[-1] - 1
        weights = torch.full((drawn + 1,), math.log((self.total - 1) / drawn), device=scores.device)
        weights[0] = 0
        return weights


def sample_labels(gold: Sequence[int], total: int, seed: Sequence[int]) -> Sample | None:
    """Draw for each row; None where there are so few labels that all are compared.

    Args:
        gold: the rows' own labels, by number.
        total: how many labels there are.
        seed: numbers that the draw depends on alone.
    """
    if total <= NEGATIVES + 1:
        return None
    rng = np.random.default_rng(list(seed))
    rows = []
    for own in gold:
        drawn = rng.choice(total - 1, NEGATIVES, replace=False)
        rows.append((own, *(int(label) + (label >= own) for label in drawn)))
    return Sample(tuple(rows), total)


def sample_for(
    backbone: Backbone, spec: TaskSpec, rows: Sequence[Encoded], seed: Sequence[int]
) -> Sample | None:
    """The labels that the loss "labels" compares each row's own with; None for all of them."""
    words = spec.label_words(backbone.tokenizer)
    if words.single:
        return None  # all labels are read at one place
    gold = [words.words.index(row.target) for row in rows]
    return sample_labels(gold, len(words), seed)
