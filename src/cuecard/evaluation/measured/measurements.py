"""Tasks on which several ways were measured: `measurements.json`, shipped with the package.

`python -m benchmarks.advice` makes it of the results of the benchmarks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).with_name("measurements.json")

Answers = Literal["labels", "texts", "images"]
"""Texts with labels, texts with texts, images with labels."""


@dataclass(frozen=True)
class Situation:
    """A task, a backbone and a budget, as far as they are known.

    Attributes:
        answers: what is read and answered.
        rows: of training.
        labels: how many; 1 for texts.
        words: of an input, on average; None for images, or where it is not known.
        family: the backbone's; None for one that is not in the catalogue.
        parameters: the backbone's weights.
        budget: seconds of CPU time for the training; None where it is not known.
    """

    answers: Answers
    rows: int
    labels: int
    words: float | None
    family: str | None
    parameters: int | None
    budget: float | None

    @property
    def sizes(self) -> dict[str, float]:
        """What is compared, by name: those that are known."""
        found = {
            "rows": self.rows,
            "labels": self.labels,
            "words": self.words,
            "parameters": self.parameters,
            "budget": self.budget,
        }
        return {name: max(float(size), 1.0) for name, size in found.items() if size is not None}


@dataclass(frozen=True)
class Measurement:
    """What several ways scored in a situation, on the same test rows.

    Attributes:
        task: what the benchmark calls it.
        source: the data it is drawn from; what is drawn from the same is no other task.
        backbone: its name.
        test_rows: how many rows each score is of, over all seeds.
        origin: the file in benchmarks/results.
        scores: way -> its score from 0 to 1.
    """

    task: str
    source: str
    backbone: str
    situation: Situation
    test_rows: int
    origin: str
    scores: Mapping[str, float]

    @property
    def best(self) -> float:
        """The highest score."""
        return max(self.scores.values())

    def behind(self, way: str) -> float:
        """How far a way is below the best."""
        return self.best - self.scores[way]

    def to_dict(self) -> dict[str, Any]:
        """As the file has it."""
        return {**vars(self), "situation": vars(self.situation), "scores": dict(self.scores)}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """The reverse of `to_dict`."""
        return cls(**{**values, "situation": Situation(**values["situation"])})


@cache
def measurements() -> Sequence[Measurement]:
    """All of them."""
    return tuple(map(Measurement.of_dict, json.loads(FILE.read_text(encoding="utf-8"))))
