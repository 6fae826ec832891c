"""What to expect of each way in a situation: the mean of what was measured, the nearest first.

Two situations are as far apart as their rows, labels, words, weights and budgets, each in
doublings, by Euclid's measure over all that is known of both. A measurement counts half as much for
every two doublings. To each way's mean half a measurement at no distance is added in which it is
five points below the best: what was measured once, far away, is not taken for the best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from cuecard.evaluation.measured.measurements import Measurement, Situation, measurements

WITHIN = 0.01
"""One point: as good as the best."""

_HALVES = 2.0  # doublings
_PRIOR = 0.5  # measurements
PRIOR_BEHIND = 0.05


@dataclass(frozen=True)
class WayEstimate:
    """What to expect of a way.

    Attributes:
        behind: how far below the best, from 0 to 1.
        measured: in how many measurements it took part.
        weight: what these count together, 1 for one at no distance.
    """

    way: str
    behind: float
    measured: int
    weight: float


@dataclass(frozen=True)
class HitRate:
    """How often the advice is right on a task whose measurements it has not seen.

    Attributes:
        cases: how many measurements.
        tasks: of how many tasks, each left out with all that is drawn from the same data.
        hits: how often what is advised is within one point of the best.
        hits_of_two: how often it or the second one is.
        behind: how far what is advised is below the best, on average.
    """

    cases: int
    tasks: int
    hits: int
    hits_of_two: int
    behind: float


def distance(one: Situation, other: Situation) -> float:
    """How far apart two situations are, in doublings."""
    ours, theirs = one.sizes, other.sizes
    return math.sqrt(
        math.fsum(math.log2(ours[name] / theirs[name]) ** 2 for name in ours.keys() & theirs.keys())
    )


def comparable(situation: Situation, known: Sequence[Measurement]) -> list[Measurement]:
    """Measurements of the same kind of task, the nearest first."""
    same = [each for each in known if each.situation.answers == situation.answers]
    return sorted(same, key=lambda each: distance(situation, each.situation))


def expected(situation: Situation, known: Sequence[Measurement]) -> list[WayEstimate]:
    """What to expect of every way that was measured, the best first."""
    same = comparable(situation, known)
    weights = [2 ** (-distance(situation, each.situation) / _HALVES) for each in same]
    found = []
    for way in sorted({way for each in same for way in each.scores}):
        took_part = [(w, each) for w, each in zip(weights, same, strict=True) if way in each.scores]
        total = math.fsum(weight for weight, _ in took_part)
        behind = math.fsum(weight * each.behind(way) for weight, each in took_part)
        mean = (behind + _PRIOR * PRIOR_BEHIND) / (total + _PRIOR)
        found.append(WayEstimate(way, mean, len(took_part), total))
    return sorted(found, key=lambda each: (each.behind, each.way))


Advised = tuple[Measurement, Sequence[str]]
"""A measurement, and the ways that are advised there, the best first."""


def left_one_out(known: Sequence[Measurement]) -> list[Advised]:
    """Each measurement with the ways that all others, of other data, let expect most of.

    Only ways that were measured there are advised: of another nobody knows how good it is.
    """
    found: list[Advised] = []
    for each in known:
        others = [one for one in known if one.source != each.source]
        ways = [one.way for one in expected(each.situation, others) if one.way in each.scores]
        if ways:
            found.append((each, ways))
    return found


def rated(advised: Sequence[Advised]) -> HitRate:
    """How often what was advised is within one point of the best."""
    behind = [each.behind(ways[0]) for each, ways in advised]
    of_two = [min(map(each.behind, ways[:2])) for each, ways in advised]
    return HitRate(
        cases=len(advised),
        tasks=len({each.source for each, _ in advised}),
        hits=sum(map(is_hit, behind)),
        hits_of_two=sum(map(is_hit, of_two)),
        behind=math.fsum(behind) / max(1, len(behind)),
    )


def is_hit(behind: float) -> bool:
    """Whether a way that is so far below the best is as good as the best."""
    return behind <= WITHIN + 1e-9


def rates(known: Sequence[Measurement]) -> dict[str, HitRate]:
    """The rate of hits on each kind of answers, and on all, each task left out in turn."""
    advised = left_one_out(known)
    found: dict[str, HitRate] = {}
    for kind in dict.fromkeys(each.situation.answers for each in known):
        found[kind] = rated([one for one in advised if one[0].situation.answers == kind])
    return {**found, "all": rated(advised)}


@cache
def hit_rates() -> Mapping[str, HitRate]:
    """How good the advice is that the shipped measurements give; see `rates`."""
    return rates(measurements())


def always(way: str, known: Sequence[Measurement]) -> HitRate:
    """The same for advice that knows one way, where it was measured."""
    return rated([(each, (way,)) for each in known if way in each.scores])
