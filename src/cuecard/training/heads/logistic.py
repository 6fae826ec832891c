"""Multinomial logistic regression on what a frozen model makes of rows: a linear probe.

Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.lazy import functional, torch
from cuecard.training.setup import TrainSetup
from cuecard.types import Record

# What a mean error weighs against the squares of the weights; the validation rows choose.
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
_ITERATIONS = 100
PROBE_PASSES = _ITERATIONS * len(_STRENGTHS)
"""How often a probe reads its rows at most, forward and backward."""


@dataclass(frozen=True)
class ProbeRows:
    """What a probe reads of some rows.

    Attributes:
        features: [n, F] float64, dense or sparse.
        labels: [n] the rows' labels, by number.
        scores: [n, K] that are known without the probe, which adds to them; zeros by default.
    """

    features: torch.Tensor
    labels: torch.Tensor
    scores: torch.Tensor

    def loss(self, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Mean negative log-likelihood."""
        outputs = self.scores + self.features @ weight.T + bias
        return functional.cross_entropy(outputs, self.labels)


def labels_of(setup: TrainSetup, records: Sequence[Record]) -> torch.Tensor:
    """[n] the rows' labels, by number."""
    spec = setup.spec
    return torch.tensor([spec.labels.index(spec.label_of(record)) for record in records])


def fit_probe(train: ProbeRows, held_out: ProbeRows) -> tuple[torch.Tensor, torch.Tensor]:
    """The probe of dense features, standardised, of the strength best on the rows held out.

    Returns:
        weight [K, F] and bias [K] of the features as they are; zeros where the scores say all.
    """
    middle, scale = train.features.mean(0), train.features.std(0, correction=0) + 1e-6
    train, held_out = (
        ProbeRows((rows.features - middle) / scale, rows.labels, rows.scores)
        for rows in (train, held_out)
    )
    weight, bias = fit_linear(train, held_out, _STRENGTHS)
    weight = weight / scale
    return weight, bias - weight @ middle


def fit_linear(
    train: ProbeRows, held_out: ProbeRows, strengths: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [K, F] and bias [K] of the strength that is best on the rows held out.

    Args:
        strengths: what a row's error weighs against the squares of the weights.
    """
    count, width = train.scores.shape[1], train.features.shape[1]
    weight = torch.zeros(count, width, dtype=torch.float64)
    bias = torch.zeros(count, dtype=torch.float64)
    fitted = []
    for strength in sorted(strengths):  # each from the one before, which is near
        weight, bias = _fit(train, strength, weight, bias)
        fitted.append((weight, bias))
    return min(fitted, key=lambda pair: float(held_out.loss(*pair)))


def _fit(
    rows: ProbeRows, strength: float, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """[K, F] and [K] of the lowest loss, from those given on."""
    weight = weight.clone().requires_grad_()
    bias = bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = strength * len(rows.labels) * rows.loss(weight, bias) + weight.square().sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
