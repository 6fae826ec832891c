"""A port in one piece: old prompts, inputs, a new backbone and a training."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator

from cuecard.backbones.quantization.forms import Quantize
from cuecard.runs.recipe_file import RunRecipe, Section
from cuecard.runs.recipe_sections import (
    AdapterFolder,
    BackboneName,
    ComputeType,
    DeviceName,
    WeightForm,
)
from cuecard.runs.run_kinds import PORT
from cuecard.training.config import TrainConfig, check_no_budget, check_no_rates
from cuecard.training.porting.settings import PortConfig


class OldPromptRecipe(Section):
    """A prompt to port.

    Attributes:
        folder: the prompt's.
        version: its number in a registry; None for a folder of its own.
        backbone, quantize, adapter: what it is asked on.
        inputs: a file of inputs without labels.
        tests: a file of labelled rows; None for none.
    """

    folder: str
    version: int | None = Field(default=None, ge=1)
    backbone: str
    quantize: Quantize = "none"
    adapter: str | None = None
    inputs: str
    tests: str | None = None


class PortRecipe(RunRecipe):
    """Everything that a port depends on.

    Attributes:
        prompts: the old prompts by name.
    """

    KIND = PORT

    prompts: dict[str, OldPromptRecipe] = Field(min_length=1)
    text_field: str | None = Field(
        default=None,
        description="Column of {text}, or of a template's only field; by default its name.",
    )
    label_field: str | None = Field(
        default=None, description="Column of the target of --tests' rows; by default the task's."
    )
    limit: int | None = Field(default=None, ge=1, description="Use at most this many inputs.")
    backbone: BackboneName = Field(
        description="The new backbone: a catalogue name, a local folder or a hub id."
    )
    dtype: ComputeType = "auto"
    quantize: WeightForm = "none"
    adapter: AdapterFolder = None
    device: DeviceName = "auto"
    porting: PortConfig = PortConfig()
    training: TrainConfig = TrainConfig()
    out: str | None = Field(
        default=None,
        description="The run's folder; by default runs/ and the prompt's name, or runs/port of "
        "several.",
    )

    @field_validator("training")
    @classmethod
    def _check_training(cls, training: TrainConfig) -> TrainConfig:
        """
        Raises:
            ConfigError: a budget, or a search of learning rates, which ports do not make.
        """
        check_no_budget(training)
        check_no_rates(training, "a port")
        return training

    @property
    def folder(self) -> Path:
        """The run's folder."""
        if self.out:
            return Path(self.out)
        names = [*self.prompts]
        return Path("runs") / (f"{names[0]}-port" if len(names) == 1 else "port")

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        named = [self.backbone, self.adapter]
        for old in self.prompts.values():
            named += [old.folder, old.backbone, old.adapter, old.inputs, old.tests]
        return tuple(path for path in named if path is not None)

    def in_folder(self, folder: Path) -> Self:
        """The same recipe for another folder."""
        return self.model_copy(update={"out": str(folder)})
