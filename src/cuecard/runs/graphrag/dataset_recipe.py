"""Which texts and which answers a data set of extractions is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cuecard.runs.graphrag.asking import ExtractionRecipe
from cuecard.runs.run_kinds import GRAPHRAG_DATASET


class DatasetRecipe(ExtractionRecipe):
    """Which texts and which answers a data set is made of."""

    KIND = GRAPHRAG_DATASET
    DEFAULT = "graphrag-dataset"

    prompt: str | None = Field(
        default=None,
        description="The extraction prompt that the LLM is asked with, where there is no gold; by "
        "default the project's, or a generic one.",
    )
    target: Literal["tuples", "json"] = Field(
        default="tuples",
        description="How targets are written: tuples is what GraphRAG reads.",
    )
    descriptions: bool = Field(
        default=True,
        description="Describe entities and relations that have no description, by the types of "
        "relations; answers without descriptions are shorter.",
    )

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        return (*super().paths, *([self.prompt] if self.prompt else []))
