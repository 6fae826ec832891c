"""What a kind's metrics come to on some rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cuecard.lazy import np
from cuecard.metrics.statistics import Floats, Statistic, f1_of


@dataclass(frozen=True, slots=True)
class MetricValues:
    """What predictions are worth.

    Attributes:
        metrics: name -> value.
        vectors: name -> per-record values [n] behind the metrics that are means; from 0 to 1
            where the name is not in `statistics` too.
        statistics: name -> the others, and means that are no shares.
    """

    metrics: Mapping[str, Any]
    vectors: Mapping[str, Floats]
    statistics: Mapping[str, Statistic] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        vectors: Mapping[str, Floats],
        statistics: Mapping[str, Statistic] | None = None,
        **more: Any,
    ) -> MetricValues:
        """From per-record values [n] by name, whose means are metrics, and from statistics.

        Args:
            more: metrics that have no interval.
        """
        statistics = statistics or {}
        metrics = {name: statistic.value() for name, statistic in statistics.items()}
        means = {name: float(vector.mean()) for name, vector in vectors.items()}
        return cls({**metrics, **means, **more}, vectors, statistics)


def of_counts(hits: int, said: int, true: int) -> dict[str, float]:
    """Precision, recall, F1 and support from counts."""
    f1 = f1_of(*(np.asarray([float(count)]) for count in (hits, said, true)))[0]
    precision, recall = hits / said if said else 0.0, hits / true if true else 0.0
    return {"precision": precision, "recall": recall, "f1": float(f1), "support": true}
