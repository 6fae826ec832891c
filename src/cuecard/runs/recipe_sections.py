"""The parts of a recipe that say what is learnt from, what is asked, and of which backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.errors import ConfigError
from cuecard.runs.recipe_file import Section
from cuecard.tasks.kinds import KindName, own_settings, with_own_settings

BackboneName: TypeAlias = Annotated[
    str, Field(description="The frozen model: a catalogue name, a local folder or a hub id.")
]
ComputeType: TypeAlias = Annotated[
    Precision, Field(description="Floating-point type to compute in.")
]
WeightForm: TypeAlias = Annotated[
    Quantize, Field(description="How the weights of the backbone's linear layers are stored.")
]
AdapterFolder: TypeAlias = Annotated[
    str | None,
    Field(description="A LoRA adapter's folder in PEFT's format, merged into the backbone."),
]
DeviceName: TypeAlias = Annotated[str, Field(description="auto, cpu, cuda or cuda:N.")]


class DataRecipe(Section):
    """Where the records are; see `Task.from_file`."""

    path: str = Field(
        description="CSV, TSV, JSONL (.gz too), Parquet or Excel file, a folder of images, a saved "
        "datasets folder, a catalogue dataset, or a hub dataset's name."
    )
    text_field: str | None = Field(
        default=None, description="Column of {text}; by default the column text."
    )
    label_field: str | None = Field(
        default=None,
        description="Column of the target: by default label, tags or answers, as the kind needs; "
        "for multi-label also several columns of 0 and 1, separated by commas.",
    )
    validation: str | None = Field(default=None, description="A file with the validation rows.")
    test: str | None = Field(default=None, description="A file with the test rows.")
    split_field: str | None = Field(default=None, description="Column that names each row's split.")
    split: tuple[float, float, float] = Field(
        default=(0.8, 0.1, 0.1), description="Shares of training, validation and test rows."
    )
    split_seed: int = Field(
        default=0,
        ge=0,
        description="Seed of the split into training, validation and test rows. It is not "
        "training.seed: runs with different seeds are tested on the same rows.",
    )
    group_field: str | None = Field(
        default=None,
        description="Column whose equal values stay in one split, such as a document or a person; "
        "none splits row by row. By default the fields of the template whose texts repeat.",
    )
    shots: int | None = Field(
        default=None,
        ge=1,
        exclude_if=lambda given: given is None,
        description="Few-shot: train on this many rows of each label and validate on as many "
        "others, drawn by content and training.seed. With several seeds each has rows of its own, "
        "and the seeds are 13, 21, 42, 87 and 100.",
    )
    limit: int | None = Field(
        default=None, ge=1, description="Use at most this many training rows."
    )
    held_out_limit: int | None = Field(
        default=None,
        ge=1,
        description="Use at most this many validation rows, and as many test rows, drawn by their "
        "content: for data whose test alone would take long.",
    )
    allow_empty: tuple[str, ...] = Field(
        default=(), description="A field of the template that rows may leave empty."
    )

    @field_validator("split_seed", mode="before")
    @classmethod
    def _older(cls, value: object) -> object:
        """Recipes written when it could be left open say null."""
        return 0 if value is None else value

    @model_validator(mode="after")
    def _check_shots(self) -> Self:
        """
        Raises:
            ConfigError: both a number of rows per label and one of rows.
        """
        if self.shots is not None and self.limit is not None:
            raise ConfigError(
                "the number of training rows is given twice",
                where="data.limit",
                got=f"{self.limit}, and {self.shots} shots",
                expected="one of them",
            )
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        named = (self.path, self.validation, self.test)
        return tuple(path for path in named if path is not None)

    @property
    def name(self) -> str:
        """What reports call the data: a file's or folder's name, or what else it is named."""
        return Path(self.path).name if Path(self.path).exists() else self.path


class TaskRecipe(Section):
    """What is asked; see `TaskSpec`. The kind's own settings go beside these."""

    model_config = ConfigDict(extra="allow")

    kind: KindName = Field(default="classification", description="What kind of answer is learnt.")
    head: Literal["auto", "none", "trained", "pooled"] = Field(
        default="auto",
        description="Tell a classification's labels apart by their words (none), or by a head: "
        "trained reads the last hidden state, pooled also the mean of the input's values. auto: "
        "words and a pooled head race where methods do; else none.",
    )
    template: str | None = Field(
        default=None,
        description=r"The input as the model reads it, such as 'Review: {text}\nSentiment:'.",
    )
    labels: tuple[str, ...] | None = Field(
        default=None, description="The labels, separated by commas; by default those of the data."
    )
    words: dict[str, str] = Field(
        default_factory=dict, description="The word that the model says for a label."
    )
    chat: bool = Field(default=False, description="Put the template into the chat format.")
    system: str | None = Field(default=None, description="The chat's system message.")
    max_length: int = Field(default=512, gt=0, description="The most input tokens.")
    normalize: Literal["none", "length"] = Field(
        default="none", description="Score a label by the sum or by the mean over its tokens."
    )
    max_new_tokens: int = Field(default=64, gt=0, description="The most tokens of an answer.")
    stop: str | None = Field(
        default=None,
        min_length=1,
        exclude_if=lambda text: text is None,
        description="A text that ends an answer, such as a line's end; the end token always does.",
    )

    @model_validator(mode="before")
    @classmethod
    def _own_settings(cls, values: Any) -> Any:
        return with_own_settings(cls, values, usual="classification")

    @classmethod
    def more_settings(cls) -> dict[str, FieldInfo]:
        """What may be given beside the fields: the kinds' own settings."""
        return own_settings()

    @property
    def heads_race(self) -> bool:
        """Whether in a race a head may tell labels apart that have words."""
        return self.head == "auto"

    @property
    def without_race(self) -> TaskRecipe:
        """What it means where no methods race."""
        return self.model_copy(update={"head": "none"}) if self.heads_race else self
