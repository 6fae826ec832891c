"""What is kept of a contender in its folder, so that a finished one is not run again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuecard.comparison.contest.general_texts import Forgetting
from cuecard.comparison.contest.other_tasks import OtherScore
from cuecard.errors import TrainingError
from cuecard.evaluation.evaluate import Evaluation
from cuecard.evaluation.report import plain, write_json
from cuecard.tasks import Task
from cuecard.training.storage.result import PREDICTIONS, read_evaluation
from cuecard.types import Interval

FILE = "contestant.json"


@dataclass(frozen=True)
class Weights:
    """SHA-256 of the backbone's bytes.

    Attributes:
        before, during, after: before the contender, while it answers, and afterwards.
    """

    before: str
    during: str
    after: str

    @property
    def changed(self) -> bool:
        """Whether the task is answered with other weights."""
        return self.during != self.before


@dataclass(frozen=True)
class Switch:
    """What it takes to go from the frozen backbone to this task.

    Attributes:
        seconds: to be ready to answer, the median of a few times.
        back_seconds: to be the frozen backbone again.
        mixes: whether rows of several tasks are answered in one batch, so that there is no switch.
    """

    seconds: float
    back_seconds: float
    mixes: bool


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A contender's result.

    Attributes:
        name: as in `--contestants`.
        title: its name in tables.
        key: what it depends on, as a digest.
        left_out: why there is no result; None where there is one.
        untrained: whether it is the frozen backbone asked in words.
        score: on validation rows; None where nothing was chosen.
        parameters, nbytes, cpu_seconds, seconds, facts: as in `Prepared`.
        shared_bytes: memory that all tasks share.
        peak_bytes: the most memory while it was prepared; None where it is not known.
        weights, switch, forgetting: None for one that asks no backbone.
        others: scores on other tasks.
        test: seconds and tokens per request of the test, and its score.
    """

    name: str
    title: str
    key: str
    untrained: bool = False
    left_out: str | None = None
    score: float | None = None
    parameters: int = 0
    nbytes: int = 0
    shared_bytes: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    peak_bytes: int | None = None
    weights: Weights | None = None
    switch: Switch | None = None
    forgetting: Forgetting | None = None
    others: tuple[OtherScore, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] | None = None


def save_standing(standing: Standing, test: Evaluation | None, folder: Path) -> None:
    """Leave it, and the answers to the test rows, in the contender's folder."""
    if test is not None:
        test.save_predictions(folder / PREDICTIONS)
    write_json(plain(standing), folder / FILE)


def load_standing(
    folder: Path, key: str, task: Task, seed: int
) -> tuple[Standing, Evaluation | None] | None:
    """What the folder holds; None where it is not whole.

    Raises:
        TrainingError: it is the result of other rows, another backbone or other settings.
    """
    try:
        found = _read(json.loads((folder / FILE).read_text(encoding="utf-8")))
        if found.key != key:
            raise TrainingError(
                "the folder holds the result of another comparison",
                where=str(folder),
                got="other rows, another backbone or other settings",
                expected="the data and the backbone that it was started with",
                hint="choose another folder (--out), or start again with --overwrite",
            )
        if found.test is None:
            return found, None
        return found, read_evaluation(folder / PREDICTIONS, task, found.test, seed)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # none, or cut off: it is run again


def _read(values: dict[str, Any]) -> Standing:
    kinds = {"weights": Weights, "switch": Switch}
    for name, kind in kinds.items():
        if values[name] is not None:
            values[name] = kind(**values[name])
    general = values["forgetting"]
    if general is not None:
        bounds = general["ci95"]
        interval = None if bounds is None else Interval(*bounds)
        values["forgetting"] = Forgetting(**{**general, "ci95": interval})
    values["others"] = tuple(
        OtherScore(**{**each, "ci95": Interval(*each["ci95"])}) for each in values["others"]
    )
    return Standing(**values)
