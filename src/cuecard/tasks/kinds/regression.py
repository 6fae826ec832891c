"""A number, by a trained head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from cuecard.errors import DataError
from cuecard.lazy import functional, np, torch
from cuecard.metrics.statistics import mean_error, pearson, r_squared, rmse, spearman
from cuecard.metrics.values import MetricValues
from cuecard.tasks.kinds.base import (
    Baseline,
    Predictions,
    Readers,
    Records,
    Targets,
    TaskKind,
    no_training_rows,
)
from cuecard.tasks.predictions import Floats
from cuecard.tasks.readers.columns import number_column
from cuecard.tasks.readers.tables import TARGET, record_place
from cuecard.tasks.settings import TaskSettings
from cuecard.types import Encoded, Prediction, Record, value_text

if TYPE_CHECKING:
    from torch import Tensor


class RegressionSettings(BaseModel):
    """
    Attributes:
        mean, scale: of the training targets; the head learns (target - mean) / scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float = Field(default=0.0, allow_inf_nan=False, exclude_if=lambda x: x == 0)
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False, exclude_if=lambda x: x == 1)


class RegressionKind(TaskKind[RegressionSettings]):
    """A number."""

    name = "regression"
    about = "a number"
    settings = RegressionSettings
    template = "{text}\nScore:"
    metric = "r2"
    second = "rmse"
    headings = ("R2", "RMSE")
    mode = "head"
    text_model = "number"

    def fitted(self, spec: TaskSettings, train: Records) -> Mapping[str, Any]:
        """The training targets' mean and standard deviation.

        Raises:
            DataError: targets that are all the same.
        """
        numbers = [float(value_text(record.target or "0")) for record in train]
        spread = pstdev(numbers)
        if spread == 0:
            raise DataError(
                "the training targets are all the same",
                where=train[0].source or None,
                got=f"{numbers[0]:g} in {len(numbers)} rows",
                expected="numbers that differ",
            )
        return {"mean": fmean(numbers), "scale": spread}

    def outputs(self, spec: TaskSettings) -> int:
        """One."""
        return 1

    def columns(self, spec: TaskSettings, target: str | None, named: Mapping[str, str]) -> Readers:
        """A finite number."""
        return {} if target is None else {TARGET: number_column(target)}

    def check_target(self, spec: TaskSettings, record: Record) -> None:
        """Refuse what is not a number."""
        super().check_target(spec, record)
        where = record_place(record) or "a record"
        number_column("target").read({"target": record.target}, {}, where)

    def goal(self, spec: TaskSettings, record: Record) -> tuple[float, ...]:
        """The standardised number."""
        own = self.own(spec)
        return ((float(value_text(record.target or "0")) - own.mean) / own.scale,)

    def head_loss(self, spec: TaskSettings, rows: Sequence[Encoded], outputs: Tensor) -> Tensor:
        """The squared error of the standardised target."""
        wanted = torch.tensor([row.goal for row in rows], device=outputs.device)
        return functional.mse_loss(outputs, wanted, reduction="sum")

    def answers(
        self, spec: TaskSettings, outputs: Floats, prior: Mapping[str, float] | None = None
    ) -> list[Prediction]:
        """[n, 1] outputs as numbers of the targets' own scale."""
        own = self.own(spec)
        values = (outputs[:, 0] * own.scale + own.mean).tolist()
        return [
            Prediction(i, f"{value:.6g}", {"value": value}, {}) for i, value in enumerate(values)
        ]

    def score(self, spec: TaskSettings, gold: Targets, predictions: Predictions) -> MetricValues:
        """R2, the errors, and the correlations of values and of ranks."""
        true = np.asarray([float(text) for text in gold])
        given = np.asarray([prediction.scores["value"] for prediction in predictions])
        makers = {"r2": r_squared, "rmse": rmse, "pearson": pearson, "spearman": spearman}
        errors = np.abs(true - given)
        statistics = {name: make(true, given) for name, make in makers.items()}
        return MetricValues.of({"mae": errors}, statistics | {"mae": mean_error(errors)})

    def baselines(self, spec: TaskSettings, train: Records, test: Records) -> Iterator[Baseline]:
        """The mean of the training targets."""
        name = "the training mean"
        yield Baseline("baseline", name, name, lambda: self._mean(train, len(test)))

    def _mean(self, train: Sequence[Record], count: int) -> list[Prediction]:
        if not train:
            raise no_training_rows(self.name)
        mean = float(np.mean([float(value_text(record.target or "0")) for record in train]))
        return [Prediction(i, f"{mean:.6g}", {"value": mean}, {}) for i in range(count)]

    def head_note(self, spec: TaskSettings) -> str:
        """How the head's output becomes the target's scale."""
        own = self.own(spec)
        return f", times {own.scale:.6g} plus {own.mean:.6g}"


REGRESSION = RegressionKind()
