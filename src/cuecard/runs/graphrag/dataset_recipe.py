"""Which texts and which answers a data set of extractions is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cuecard.graphrag.measuring.prompts import ExtractionPrompt, generic_prompt, read_prompt
from cuecard.runs.graphrag.asking import ExtractionRecipe
from cuecard.runs.run_kinds import GRAPHRAG_DATASET


class DatasetRecipe(ExtractionRecipe):
    """Which texts and which answers a data set is made of."""

    KIND = GRAPHRAG_DATASET
    DEFAULT = "graphrag-dataset"

    prompt: str | None = Field(
        default=None,
        description="The extraction prompt that the LLM is asked with, where there is no gold; by "
        "default a generic one.",
    )
    target: Literal["tuples", "json"] = Field(
        default="tuples",
        description="How targets are written: tuples is what GraphRAG reads.",
    )

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        return (*super().paths, *([self.prompt] if self.prompt else []))

    def read_prompt(self) -> ExtractionPrompt:
        """The prompt.

        Raises:
            ConfigError, FileError: it cannot be read, or GraphRAG could not format it.
        """
        return generic_prompt() if self.prompt is None else read_prompt(self.prompt, "", self.form)
