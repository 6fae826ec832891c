"""What the protocol's sealed tests gave: a score for each data set, and the means papers take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuecard.metrics.intervals import mean_interval
from cuecard.metrics.seeds import rows_interval, seeds_interval
from cuecard.training.sweeps.space import Settings
from cuecard.training.sweeps.trials import Trial
from cuecard.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class VtabScore:
    """A data set's score.

    Attributes:
        name, group: the data set's.
        settings: those chosen on its validation examples, as the optimiser took them.
        validation: their accuracy there, after training on the others.
        trials: all that were tried.
        seeds: of the trainings on all examples.
        right: each seed's answers to the test rows, [n] 1.0 where it is right and else 0.0.
        test_rows: rows of the data's test, of which these may be a sample.
        trained: how many numbers were trained.
        bytes: of the prompt's tensors, its head's among them.
        cpu_seconds: of all training and validating, the test apart.
    """

    name: str
    group: str
    settings: Settings
    validation: float
    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    right: tuple[NDArray[Any], ...]
    test_rows: int
    trained: int
    bytes: int
    cpu_seconds: float

    @property
    def scores(self) -> list[float]:
        """Each seed's accuracy on the test rows."""
        return [float(each.mean()) for each in self.right]

    @property
    def accuracy(self) -> float:
        """Their mean."""
        return statistics.fmean(self.scores)

    @property
    def ci95(self) -> Interval:
        """Of the mean: over test rows, and over seeds where there are several."""
        if len(self.right) == 1:
            return mean_interval(self.right[0])
        return seeds_interval(self.scores, rows_interval(self.right))

    def to_dict(self) -> dict[str, Any]:
        """The same as a report has it."""
        return {
            "name": self.name,
            "group": self.group,
            "settings": self.settings,
            "validation_accuracy": self.validation,
            "seeds": self.seeds,
            "scores": self.scores,
            "sd": statistics.stdev(self.scores) if len(self.scores) > 1 else None,
            "accuracy": self.accuracy,
            "ci95": self.ci95,
            "tested": len(self.right[0]),
            "test_rows": self.test_rows,
            "trained_parameters": self.trained,
            "bytes": self.bytes,
            "cpu_seconds": round(self.cpu_seconds, 1),
            "trials": [
                {"settings": one.settings, "accuracy": one.accuracy, "ended": one.ended}
                for one in self.trials
            ],
        }


@dataclass(frozen=True, slots=True)
class VtabMean:
    """A mean over data sets, with its interval over their rows and seeds."""

    accuracy: float
    ci95: Interval


def mean_over_tasks(scores: Sequence[VtabScore]) -> VtabMean:
    """Every data set counts the same."""
    return _weighted(scores, [1 / len(scores)] * len(scores))


def mean_over_groups(scores: Sequence[VtabScore]) -> VtabMean:
    """Every group counts the same, and in it every data set (Zhai et al. 2019, section 3)."""
    groups = [one.group for one in scores]
    return _weighted(scores, [1 / (len(set(groups)) * groups.count(group)) for group in groups])


def _weighted(scores: Sequence[VtabScore], weights: Sequence[float]) -> VtabMean:
    """Limits as of a sum of independent means: Zou and Donner (2008), see `metrics.seeds`."""
    mean = math.fsum(w * one.accuracy for w, one in zip(weights, scores, strict=True))
    below = [w * (one.accuracy - one.ci95.low) for w, one in zip(weights, scores, strict=True)]
    above = [w * (one.ci95.high - one.accuracy) for w, one in zip(weights, scores, strict=True)]
    return VtabMean(mean, Interval(mean - math.hypot(*below), mean + math.hypot(*above)))
