"""Two prompts of a task on the same rows: by their answers, or by how likely the targets are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cuecard.evaluation.evaluate import Evaluation, Gain, evaluate, gain
from cuecard.evaluation.loglikelihood import sharing_front
from cuecard.lazy import torch
from cuecard.metrics.intervals import paired_interval
from cuecard.training.objective.loss import batch_loss
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.head import head_of
from cuecard.types import Method, Record

Prior: TypeAlias = Mapping[str, float] | None
RowResults: TypeAlias = Evaluation | list[float]

_LIKELIHOOD = "mean probability of the target's tokens"


@dataclass(frozen=True, slots=True)
class Paired:
    """Two of them compared.

    Attributes:
        metric: what is compared.
        ours, theirs: its values.
        ci95: the paired 95% interval of `ours` - `theirs`; None where the rows do not give one.
    """

    metric: str
    ours: float
    theirs: float
    ci95: tuple[float, float] | None

    @property
    def clear(self) -> bool:
        """Whether ours is clearly better: the interval is above 0."""
        return self.ci95 is not None and self.ci95[0] > 0


def by_likelihood(setup: TrainSetup) -> bool:
    """Whether answers are not to be had, or cost more than a race may spend."""
    mode = setup.spec.mode
    return mode == "text" or (setup.validations.brief and mode != "head")


def answers(
    setup: TrainSetup, method: Method, prior: Prior, records: Sequence[Record]
) -> Evaluation:
    """The evaluation of what is trained at its best step."""
    return evaluate(
        setup.backbone,
        setup.spec,
        records,
        method.injection(),
        slot=setup.slot,
        prior=prior if setup.config.calibrate else None,
        seed=setup.config.seed,
        head=head_of(method),
    )


def likelihoods(
    setup: TrainSetup, method: Method, prior: Prior, records: Sequence[Record]
) -> list[float]:
    """Of each record the (geometric) mean probability of its target's tokens."""
    backbone, spec, injection = setup.backbone, setup.spec, method.injection()
    rows = [spec.encode(record, backbone.tokenizer, setup.slot) for record in records]
    batches = [[number] for number in range(len(rows))]
    found = []
    with torch.inference_mode(), sharing_front(backbone, rows, injection, batches):
        for row in rows:
            loss, targets = batch_loss(backbone, spec, [row], injection, "tokens")
            found.append(math.exp(-float(loss) / targets))
    return found


def paired(ours: RowResults, theirs: RowResults) -> Paired:
    """Compare what two were asked, both by `answers` or both by `likelihoods`."""
    if isinstance(ours, list):
        assert isinstance(theirs, list)
        one, other = (sum(values) / len(values) for values in (ours, theirs))
        seen = Gain(_LIKELIHOOD, one - other, paired_interval(ours, theirs))
    else:
        assert not isinstance(theirs, list)
        seen = gain(ours, theirs)
        one, other = (float(found.metrics[seen.metric]) for found in (ours, theirs))
    known = math.isfinite(seen.ci95.low) and math.isfinite(seen.ci95.high)
    interval = (seen.ci95.low, seen.ci95.high) if known else None
    return Paired(seen.metric, one, other, interval)
