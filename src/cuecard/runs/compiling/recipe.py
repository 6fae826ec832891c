"""A compilation in one piece: a text, inputs, what is asked, a backbone and a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from cuecard.errors import ConfigError
from cuecard.runs.recipe_file import RunRecipe
from cuecard.runs.recipe_sections import (
    AdapterFolder,
    BackboneName,
    ComputeType,
    DeviceName,
    WeightForm,
)
from cuecard.runs.run_kinds import COMPILE
from cuecard.training.compiling.settings import CompileConfig
from cuecard.training.config import TrainConfig, check_no_budget, check_no_rates


class CompileRecipe(RunRecipe):
    """Everything that a compilation depends on."""

    KIND = COMPILE
    TEMPLATE: ClassVar[str] = "{prompt}\n\n{text}"

    text: str = Field(description="The text that stands in front of every request: a file.")
    inputs: str | None = Field(
        default=None,
        description="Inputs to learn from, without labels: a text file with one per line, or a "
        "file with the template's columns. Without them the backbone writes questions itself.",
    )
    questions: int = Field(
        default=200,
        ge=10,
        description="How many questions about the text the backbone writes where there are no "
        "inputs.",
    )
    eval: str | None = Field(
        default=None,
        description="Labelled rows: the full text and the prompts are scored on them, and the "
        "difference gets a paired interval.",
    )
    text_field: str | None = Field(
        default=None, description="Column of {text}; by default the column text."
    )
    label_field: str | None = Field(
        default=None, description="Column of the target of --eval's rows.  [label]"
    )
    limit: int | None = Field(default=None, ge=1, description="Use at most this many inputs.")
    template: str | None = Field(
        default=None,
        description=r"A request as the model reads it; {prompt} is where the text stands. By "
        r"default '{prompt}\n\n{text}', with '\nAnswer:' or '\nLabel:' after it where there is no "
        "chat.",
    )
    input_field: str | None = Field(
        default=None,
        description="The text is a template with one gap of this name, as GraphRAG's extraction "
        "prompts have {input_text}: what comes before it is compiled, an input stands in its "
        "place, and the rest follows.",
    )
    labels: tuple[str, ...] = Field(
        default=(),
        description="The labels of a classification, separated by commas: their probabilities are "
        "learnt. By default the text's answers are.",
    )
    chat: bool = Field(default=False, description="Put the template into the chat format.")
    system: str | None = Field(
        default=None,
        description="The chat's system message; with {prompt} in it, such as '{prompt}' alone, the "
        "text stands there.",
    )
    max_length: int = Field(
        default=512, gt=0, description="The most input tokens, the text not counted in."
    )
    max_new_tokens: int = Field(default=64, gt=0, description="The most tokens of an answer.")
    backbone: BackboneName = "smollm2-135m-instruct"
    dtype: ComputeType = "auto"
    quantize: WeightForm = "none"
    adapter: AdapterFolder = None
    device: DeviceName = "auto"
    compiling: CompileConfig = CompileConfig()
    training: TrainConfig = TrainConfig()
    out: str | None = Field(
        default=None, description="The run's folder; by default runs/ and the text's name."
    )

    @field_validator("training")
    @classmethod
    def _check_training(cls, training: TrainConfig) -> TrainConfig:
        """
        Raises:
            ConfigError: a budget, which only races have, or a search of learning rates.
        """
        check_no_budget(training)
        check_no_rates(training, "a compilation")
        return training

    @model_validator(mode="after")
    def _check_template(self) -> Self:
        """
        Raises:
            ConfigError: a template beside a text that is one, or a system message that takes the
                text's place in it.
        """
        others = {"template": self.template, "system": self.system if self._in_system else None}
        for name, value in others.items():
            if self.input_field is not None and value is not None:
                raise ConfigError(
                    "the text says itself where an input stands",
                    where=name,
                    got=value,
                    expected="no input_field, or this left out",
                )
        return self

    @property
    def _in_system(self) -> bool:
        """Whether the text stands in the system message."""
        return "{prompt}" in (self.system or "")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        if self.out:
            return Path(self.out)
        return Path("runs") / f"{Path(self.text).stem.replace(' ', '-')}-compile"

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        named = (self.text, self.inputs, self.eval, self.backbone, self.adapter)
        return tuple(path for path in named if path is not None)

    def in_folder(self, folder: Path) -> Self:
        """The same recipe for another folder."""
        return self.model_copy(update={"out": str(folder)})

    @property
    def asked(self) -> dict[str, Any]:
        """The task's settings."""
        template = self.template or self.TEMPLATE
        if self.template is None and self._in_system:
            template = "{text}"
        if self.template is None and not self.chat:
            template += "\nLabel:" if self.labels else "\nAnswer:"
        return {
            "kind": "classification" if self.labels else "text-to-text",
            "template": template,
            "labels": self.labels,
            "chat": self.chat,
            "system": self.system,
            "max_length": self.max_length,
            "max_new_tokens": self.max_new_tokens,
            **({} if self.label_field is None else {"target_field": self.label_field}),
        }
