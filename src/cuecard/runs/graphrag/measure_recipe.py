"""Which extraction prompts are measured, on what, and how."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from cuecard.errors import ConfigError
from cuecard.graphrag.gold import TextSet
from cuecard.graphrag.measuring.prompts import (
    GENERIC,
    ExtractionPrompt,
    generic_prompt,
    read_prompt,
)
from cuecard.graphrag.measuring.settings import MeasureSettings
from cuecard.runs.graphrag.asking import PROJECT, TUNED, ExtractionRecipe
from cuecard.runs.run_kinds import GRAPHRAG_MEASURE


class MeasureRecipe(ExtractionRecipe):
    """Which prompts are measured, on what, and how."""

    KIND = GRAPHRAG_MEASURE
    DEFAULT = "graphrag-measure"

    generic: bool = Field(default=True, description="Compare with a prompt for any corpus.")
    prompts: dict[str, str] = Field(
        default_factory=dict,
        description="Extraction prompts: a file as GraphRAG reads it, or NAME=FILE.",
    )
    prompt_folders: dict[str, str] = Field(
        default_factory=dict,
        description="Prompts that `cuecard train` made of a text-to-text task, as FOLDER or "
        "NAME=FOLDER: they answer on their own backbone.",
    )
    backbone: str | None = Field(
        default=None, description="The backbone of these; by default the one that each names."
    )
    runs: int | None = Field(
        default=None,
        ge=1,
        description="Times that every text is extracted from: the first is scored, others say how "
        "alike two runs are. By default 1 with gold, 2 without.",
    )
    temperature: float = Field(
        default=0.7, gt=0, le=2, description="Of runs after the first, which is at 0."
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        taken = [GENERIC, PROJECT, *TUNED, *self.prompts, *self.prompt_folders]
        twice = sorted({name for name in taken if taken.count(name) > 1})
        if twice:
            raise ConfigError(
                "two prompts have one name",
                where="--prompt",
                got=", ".join(twice),
                expected="NAME=FILE with names of their own",
            )
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        own = (*self.prompts.values(), *self.prompt_folders.values())
        return (*super().paths, *own, *([self.backbone] if self.backbone else []))

    def settings(self, texts: TextSet) -> MeasureSettings:
        """How prompts are measured on texts."""
        runs = self.runs or (1 if texts.labelled else 2)
        types = self.entity_types(texts)
        return MeasureSettings(types, runs, self.temperature, self.max_tokens, self.seed)

    def read_prompts(self) -> list[ExtractionPrompt]:
        """The prompts that an LLM is asked with, the generic one first.

        Raises:
            ConfigError, FileError: one that cannot be read, or that GraphRAG could not format.
        """
        found = [generic_prompt()] if self.generic else []
        files = {**self.project_prompts(), **self.prompts}
        return [*found, *(read_prompt(file, name, self.form) for name, file in files.items())]
