"""What a contender does to other tasks: their scores with it on, and with it off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from cuecard.comparison.contest.contender import Loaded
from cuecard.errors import DataError
from cuecard.evaluation.evaluate import Evaluation, evaluate, gain
from cuecard.tasks import Splits, Task, TaskSpec
from cuecard.tasks.splits import data_hash
from cuecard.training.setup import key_of
from cuecard.types import Interval, Record

# Enough rows to see a loss of ten points, and over in seconds.
_ROWS = 100


@dataclass(frozen=True)
class OtherTask:
    """A task that nothing is trained on, asked by its template.

    Attributes:
        name: what the user called its data.
    """

    name: str
    spec: TaskSpec
    rows: tuple[Record, ...]

    @classmethod
    def read(cls, name: str, source: Any) -> Self:
        """A classification in the columns text and label.

        Args:
            source: where its data are.

        Raises:
            DataError: they cannot be used, or have no test rows.
            ConfigError: as `Task.from_file`.
        """
        task = Task.from_file(source, limit=_ROWS, held_out_limit=_ROWS)
        if not task.test:
            raise DataError("there are no test rows to score", where=name, expected="a test split")
        return cls(name, task.spec, task.test)

    @property
    def key(self) -> str:
        """The same for the same rows, asked alike, wherever their file is."""
        rows = data_hash(Splits((), (), self.rows))
        return key_of([self.spec.model_dump(mode="json"), rows])

    def answered(self, loaded: Loaded) -> Evaluation:
        """Its rows, asked with a contender on."""
        injection, slot = loaded.injection, loaded.slot
        return evaluate(loaded.backbone, self.spec, self.rows, injection, slot=slot)


@dataclass(frozen=True)
class OtherScore:
    """The score on another task.

    Attributes:
        name: of its data.
        rows: how many were asked.
        off: of the frozen model.
        on: with the contender on.
        ci95: of the difference, paired by row.
    """

    name: str
    rows: int
    off: float
    on: float
    ci95: Interval

    @classmethod
    def of(cls, task: OtherTask, off: Evaluation, on: Evaluation) -> Self:
        """The answers to the same rows without and with a contender, compared."""
        return cls(task.name, len(task.rows), off.score, on.score, gain(on, off).ci95)
