"""A number in a report, which is compared pair by pair with that of another prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from cuecard.metrics.intervals import mean_interval, paired_interval
from cuecard.metrics.statistics import F1
from cuecard.types import Interval


class Figure(Protocol):
    """A number over documents or chunks.

    Attributes:
        value: the number, from 0 to 1.
    """

    @property
    def value(self) -> float: ...

    def interval(self, seed: int) -> Interval:
        """Its 95% interval."""
        ...

    def gain(self, other: Self, seed: int) -> Interval:
        """The paired 95% interval of this one less another one of the same documents."""
        ...


@dataclass(frozen=True)
class RateFigure:
    """A ratio of sums, such as F1: by the Bayesian bootstrap."""

    rate: F1

    @property
    def value(self) -> float:
        """See `Figure`."""
        return self.rate.value()

    def interval(self, seed: int) -> Interval:
        """See `Figure`."""
        return self.rate.interval(seed)

    def gain(self, other: RateFigure, seed: int) -> Interval:
        """See `Figure`."""
        return self.rate.gain(other.rate, seed)


@dataclass(frozen=True)
class MeanFigure:
    """A mean of shares: by the intervals of `cuecard.metrics.intervals`, without chance."""

    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """See `Figure`."""
        return sum(self.values) / len(self.values)

    def interval(self, seed: int) -> Interval:
        """See `Figure`."""
        return mean_interval(self.values)

    def gain(self, other: MeanFigure, seed: int) -> Interval:
        """See `Figure`."""
        return paired_interval(self.values, other.values)
