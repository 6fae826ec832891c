"""What the protocol of VTAB-1k leaves open, with the values that papers take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cuecard.errors import ConfigError
from cuecard.training.config import TrainConfig
from cuecard.training.sweeps.space import SweepConfig, check_different

LR, DECAY = "lr", "weight_decay"

GRIDS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "sgd": {
        LR: (50.0, 25.0, 10.0, 5.0, 2.5, 1.0, 0.5, 0.25, 0.1, 0.05),
        DECAY: (0.01, 0.001, 0.0001, 0.0),
    },
    "adamw": {LR: (0.01, 0.003, 0.001, 0.0003, 0.0001), DECAY: (0.01, 0.0)},
}
"""Optimiser -> what is tried. That of sgd is the grid of Jia et al. (2022), 40 points."""

SEEDS = (42, 44, 82, 100, 800)
"""Those of Jia et al. (2022)."""

_RATES_OF = 256  # rows in a batch; with other batches sgd's rates are in proportion
_SELECTION = 0.8  # of the examples


class VtabSettings(BaseModel):
    """How few examples become a score, from the choice of a rate to the sealed test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict,
        validate_default=True,
        description="What is tried in place of the whole grid, such as lr=5,1,0.25 or "
        "weight_decay=0. sgd's rates are for a batch of 256 rows, and scaled to the batch.",
    )
    optimizer: Literal["sgd", "adamw"] = Field(
        default="sgd", description="The optimiser; sgd, with its 40-point grid, is the paper's."
    )
    epochs: int = Field(default=100, ge=1, description="Passes over the examples.")
    batch_rows: int = Field(default=64, ge=1, description="Rows per step.")
    examples: int = Field(
        default=1000,
        ge=10,
        description="Examples of each data set: four fifths of them train and the rest chooses.",
    )
    test_rows: int | None = Field(
        default=None,
        ge=1,
        description="Test on at most this many rows, drawn by their content; by default on all.",
    )
    seeds: tuple[int, ...] = Field(
        default=SEEDS, min_length=1, description="Seeds of the training on all examples."
    )
    together: int | None = Field(
        default=None,
        ge=1,
        description="Prompts in one pass; by default what fits in memory, 8 at most.",
    )

    @model_validator(mode="after")
    def _whole_grid(self) -> Self:
        """The axes that were not given are those of the optimiser's whole grid."""
        whole: dict[str, tuple[Any, ...]] = {**GRIDS[self.optimizer], **self.grid}
        object.__setattr__(self, "grid", whole)
        return self

    @model_validator(mode="after")
    def _rates(self) -> Self:
        rates = self.grid[LR]
        if not all(isinstance(x, int | float) and math.isfinite(x) and x > 0 for x in rates):
            raise ConfigError(
                "the learning rate must be a positive number",
                where="protocol.grid",
                got=", ".join(map(str, rates)),
                expected="finite numbers above 0",
            )
        return self

    @model_validator(mode="after")
    def _different(self) -> Self:
        check_different(self.seeds, "protocol.seeds")
        for values in self.grid.values():
            check_different(values, "protocol.grid")
        return self

    @property
    def selection_rows(self) -> int:
        """Examples that train while settings are chosen."""
        return round(_SELECTION * self.examples)

    @property
    def sweep(self) -> SweepConfig:
        """What is tried, with the rates as the optimiser takes them."""
        scale = self.batch_rows / _RATES_OF if self.optimizer == "sgd" else 1.0
        rates = tuple(float(f"{rate * scale:.6g}") for rate in self.grid[LR])
        return SweepConfig(grid={**self.grid, LR: rates}, together=self.together)

    def training(self, rows: int) -> TrainConfig:
        """How a prompt is trained on so many rows: all epochs, and the last step counts.

        Warm-up over a tenth of the steps, then a cosine, the head at the prompt's rate (Jia et al.,
        appendix A). Rows are answered before the first step and after the last one.
        """
        steps = self.epochs * math.ceil(rows / self.batch_rows)
        return TrainConfig(
            steps=steps,
            batch_rows=self.batch_rows,
            optimizer=self.optimizer,
            head_lr="lr",
            warmup=steps // 10,
            clip=0.0 if self.optimizer == "sgd" else 1.0,
            eval_every=steps,
            select="accuracy",
            calibrate=False,
        )
