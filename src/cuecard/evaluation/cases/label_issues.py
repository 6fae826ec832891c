"""Rows whose given label is probably wrong: confident learning.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70,
2021 (arXiv:1911.00068). A row counts as label j if its probability of j reaches the mean of those
that the rows labelled j have (section 3.1, the confident joint, equations 1 and 2); rows that count
as another label than their own are the issues (section 3.2, method 2: the off-diagonals), most
certain first by the margin between the two labels.

The probabilities have to be of rows that the model was not trained on, as test rows are: of its own
training rows it has learnt the wrong labels too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuecard.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]
else:
    Floats = Whole = Any


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """A row that is probably labelled wrongly.

    Attributes:
        row: its place among those given, from 0.
        suggested: the label that it counts as.
        margin: how much more probable that label is than its own.
    """

    row: int
    suggested: str
    margin: float


@dataclass(frozen=True, slots=True)
class LabelIssues:
    """What confident learning finds in some rows.

    Attributes:
        found: the issues, the most certain first.
        noise: the estimated share of rows whose label is wrong: what the calibrated joint has off
            its diagonal (equation 3).
    """

    found: tuple[LabelIssue, ...]
    noise: float


def find_label_issues(
    labels: Sequence[str], given: Sequence[str], probabilities: Sequence[Mapping[str, float]]
) -> LabelIssues:
    """Rows that count as another label than the one they are given.

    Args:
        labels: all labels.
        given: each row's own, one of them.
        probabilities: of each row, label -> probability; a label that is absent has none.
    """
    if not given:
        return LabelIssues((), 0.0)
    place = {label: number for number, label in enumerate(labels)}
    own = np.asarray([place[label] for label in given])
    shares = np.asarray([[row.get(label, 0.0) for label in labels] for row in probabilities])
    counts = _counts_as(own, shares)
    rows = np.arange(len(own))
    margins = shares[rows, np.maximum(counts, 0)] - shares[rows, own]
    issues = np.flatnonzero((counts >= 0) & (counts != own))
    order = issues[np.argsort(-margins[issues], kind="stable")]
    found = tuple(LabelIssue(int(n), labels[counts[n]], float(margins[n])) for n in order)
    return LabelIssues(found, _noise(own, counts, len(labels)))


def _counts_as(own: Whole, shares: Floats) -> Whole:
    """[n] the label that a row counts as, -1 for none: of those it reaches, the likeliest."""
    least = np.full(shares.shape[1], np.inf)  # a label that no row has is none that a row counts as
    for label in np.unique(own):
        least[label] = shares[own == label, label].mean()
    # A mean of equal numbers may be off their value by rounding.
    reached = np.where(shares >= least - 1e-12, shares, -1.0)
    return np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1)


def _noise(own: Whole, counts: Whole, labels: int) -> float:
    joint = np.zeros((labels, labels))
    np.add.at(joint, (own[counts >= 0], counts[counts >= 0]), 1.0)
    totals = joint.sum(axis=1)
    rows = np.bincount(own, minlength=labels)
    # Rows of a label of which none counts say nothing of it: it is taken to be right.
    joint[totals == 0, totals == 0] = 1.0
    calibrated = joint / joint.sum(axis=1, keepdims=True) * rows[:, None]
    return float(1.0 - np.trace(calibrated) / rows.sum())
