"""A recommendation with its reasons, before anything is trained."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cuecard.backbones.families import FAMILIES
from cuecard.catalogue import BACKBONES
from cuecard.evaluation.measured.measurements import Answers, Measurement, Situation, measurements
from cuecard.evaluation.measured.nearest_tasks import (
    WITHIN,
    HitRate,
    WayEstimate,
    comparable,
    expected,
    hit_rates,
)
from cuecard.evaluation.measured.ways import WAYS, fits
from cuecard.metrics.intervals import proportion_interval
from cuecard.tasks import Task
from cuecard.validation_text import counted

# The kinds of tasks of which there are measurements.
_ANSWERS: Mapping[str, Answers] = {
    "classification": "labels",
    "text-to-text": "texts",
    "image-classification": "images",
}
_ROWS_READ = 2000  # for the mean of words
_NEAREST = 3
_FEW_ROWS = 200
_FAR = 4.0  # times the largest that was measured, or a quarter of the smallest
_POINTS = 100  # of 1
_WITHOUT = "auto"  # what is advised where nothing was measured
_SHOWN = {"rows": "training rows", "parameters": "weights", "budget": "CPU-seconds of budget"}


@dataclass(frozen=True)
class Recommendation:
    """What is advised, and why.

    Attributes:
        situation: what was looked at; None for a kind of task that nothing was measured on.
        way: what is advised.
        expected: of every way that fits the backbone, the best first.
        nearest: the measurements that count most.
        cautions: what to mind, in sentences.
    """

    situation: Situation | None
    way: str
    expected: tuple[WayEstimate, ...]
    nearest: tuple[Measurement, ...]
    cautions: tuple[str, ...]

    def command(self, data: str, budget: str) -> str:
        """What to type."""
        return WAYS[self.way].command.format(data=data, budget=budget)

    @property
    def hit_rate(self) -> HitRate | None:
        """How often such advice is right, for tasks with the same kind of answers.

        None where nothing was measured.
        """
        return None if self.situation is None else hit_rates()[self.situation.answers]

    @property
    def second(self) -> str | None:
        """What is advised beside it, where both can be tried; None where nothing was measured."""
        return self.expected[1].way if len(self.expected) > 1 else None

    @property
    def basis(self) -> str:
        """On how much it rests, in sentences."""
        rate = self.hit_rate
        if rate is None:
            return "It rests on no measurement."
        known = proportion_interval(rate.hits, rate.cases)
        return (
            f"It rests on {counted(self.expected[0].measured, 'measurement')} of {self.way}, of "
            f"{rate.cases} on such tasks. On those of a task left out, such advice was within one "
            f"point of the best in {rate.hits} of {rate.cases} ({rate.hits / rate.cases:.0%}, 95% "
            f"interval {known.low:.0%} to {known.high:.0%}), and {_POINTS * rate.behind:.1f} "
            f"points below it on average; it or the second one, here {self.second}, in "
            f"{rate.hits_of_two}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        return {
            "advice": self.way,
            "second": self.second,
            "about": WAYS[self.way].about,
            "situation": None if self.situation is None else vars(self.situation),
            "expected": [asdict(each) for each in self.expected],
            "nearest": [each.to_dict() for each in self.nearest],
            "cautions": list(self.cautions),
            "left_one_task_out": None if self.hit_rate is None else vars(self.hit_rate),
        }


def advise(task: Task, backbone: str, budget: float | None = None) -> Recommendation:
    """What to expect most of, by what was measured on tasks like this one.

    Args:
        backbone: its name; one of the catalogue's is known by its size and family.
        budget: seconds of CPU time for the training; None leaves it out of the comparison.
    """
    situation = situation_of(task, backbone, budget)
    if situation is None:
        why = f"nothing was measured on tasks of the kind {task.spec.kind}: methods race for it"
        return Recommendation(None, _WITHOUT, (), (), (why,))
    known = comparable(situation, measurements())
    found = [each for each in expected(situation, known) if fits(each.way, situation.family)]
    best = found[0]
    nearest = [each for each in known if best.way in each.scores][:_NEAREST]
    cautions = (*_close(found), *_elsewhere(situation, best.way, known), *_far(situation, known))
    return Recommendation(situation, best.way, tuple(found), tuple(nearest), tuple(cautions))


def advise_few_rows(task: Task, backbone: str, budget: float | None, way: str) -> str:
    """What to say of a choice where there are few rows to choose by; empty for nothing.

    Args:
        way: what was chosen.
    """
    if not 0 < len(task.train) < _FEW_ROWS:
        return ""
    found = advise(task, backbone, budget)
    behind = {each.way: each.behind for each in found.expected}
    if way not in behind or behind[way] - behind[found.way] <= WITHIN:
        return ""
    return (
        f"{counted(len(task.train), 'training row')}: on measured tasks like this one {way} was "
        f"{_POINTS * behind[way]:.1f} points below the best way, and {found.way} "
        f"{_POINTS * behind[found.way]:.1f}; `cuecard advise` says more"
    )


def situation_of(task: Task, backbone: str, budget: float | None) -> Situation | None:
    """A task as measurements are compared with it; None for a kind without any."""
    answers = _ANSWERS.get(task.spec.kind)
    if answers is None:
        return None
    entry = BACKBONES.get(backbone)
    lengths = [
        sum(len(text.split()) for text in row.texts.values()) for row in task.train[:_ROWS_READ]
    ]
    return Situation(
        answers=answers,
        rows=len(task.train),
        labels=max(1, len(task.spec.labels)),
        words=None if answers == "images" or not lengths else statistics.fmean(lengths),
        family=None if entry is None else entry.family,
        parameters=None if entry is None else entry.parameters,
        budget=budget,
    )


def _close(found: Sequence[WayEstimate]) -> list[str]:
    best = found[0].behind
    others = [each.way for each in found[1:] if each.behind - best <= WITHIN]
    if not others:
        return []
    return [f"within one point of it by the same measurements: {', '.join(others)}"]


def _elsewhere(situation: Situation, way: str, known: Sequence[Measurement]) -> list[str]:
    """Where the way was never measured on such a backbone."""
    family = situation.family
    on = {each.situation.family for each in known if way in each.scores}
    if family is None or family in on:
        return []
    return [f"{way} was not measured on {FAMILIES[family].about}"]


def _far(situation: Situation, known: Sequence[Measurement]) -> list[str]:
    """Where the situation is beyond all that was measured."""
    said = []
    for name, size in situation.sizes.items():
        seen = [each.situation.sizes[name] for each in known if name in each.situation.sizes]
        if seen and not min(seen) / _FAR <= size <= max(seen) * _FAR:
            said.append(
                f"{size:,.0f} {_SHOWN.get(name, name)}: measured were {min(seen):,.0f} to "
                f"{max(seen):,.0f}, so that this is a guess"
            )
    if situation.parameters is None:
        said.append("the backbone is not of the catalogue: its size and family were not looked at")
    return said
