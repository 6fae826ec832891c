"""What a search for an extraction prompt depends on."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from cuecard.errors import ConfigError
from cuecard.graphrag.optimising.objectives import Objective
from cuecard.runs.graphrag.asking import ExtractionRecipe
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.runs.run_kinds import GRAPHRAG_OPTIMISE
from cuecard.search.searchers import SEARCHERS, at_hand
from cuecard.search.settings import SearchSettings


class WriterRecipe(LLMRecipe):
    """The LLM that writes candidates, where it is not the one that extracts."""

    FLAG: ClassVar[str] = "--writer-llm"
    PREFIX: ClassVar[str] = "--writer"

    model: str = Field(
        description="The LLM that writes candidates: of the catalogue, a local folder, or of an "
        "endpoint; by default the one that extracts."
    )


class OptimiseRecipe(ExtractionRecipe):
    """What a search for an extraction prompt depends on."""

    KIND = GRAPHRAG_OPTIMISE
    DEFAULT = "graphrag-optimise"

    prompt: str | None = Field(
        default=None,
        description="The prompt that is to be improved, a file as GraphRAG reads it; by default "
        "the project's, or a generic one.",
    )
    searcher: str = Field(
        default="auto",
        description="How instructions and examples are found; by default by all that is possible, "
        "in turns.",
    )
    objective: Literal["auto", "entities", "relations", "both", "signals"] = Field(
        default="auto",
        description="What is to grow: strict F1 of entities, of relations, or of both, text by "
        "text; without gold signals, of form, grounding and coverage. auto: entities with gold, "
        "else signals.",
    )
    prompt_tokens: int | None = Field(
        default=None,
        ge=1,
        description="The most tokens of a prompt with its text; by default as many as the model "
        "in this process has positions for, or any number.",
    )
    split: tuple[float, float, float] = Field(
        default=(0.6, 0.2, 0.2),
        description="Shares of documents to search on, to choose by, and to test with.",
    )
    search: SearchSettings = Field(
        default=SearchSettings(rows=30, proposals=6, rounds=10, block=10)
    )
    writer: WriterRecipe | None = Field(default=None)

    @field_validator("searcher")
    @classmethod
    def _possible(cls, name: str) -> str:
        has = at_hand(llm=True, labels=False, model=False)
        known = [each for each, one in SEARCHERS.items() if one.missing(has) is None]
        if name not in known:
            raise ConfigError(
                "there is no such searcher for extraction prompts",
                where="--searcher",
                got=name,
                expected=", ".join(known),
            )
        return name

    @model_validator(mode="after")
    def _objective_of_gold(self) -> OptimiseRecipe:
        if self.gold is None and self.objective not in ("auto", "signals"):
            raise ConfigError(
                "without gold nobody knows what is right",
                where="--objective",
                got=self.objective,
                expected="signals, or --gold FILE",
            )
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        own = None if self.writer is None or self.writer.url else self.writer.model
        return (*super().paths, *(each for each in (self.prompt, own) if each is not None))

    def objective_for(self, *, labelled: bool) -> Objective:
        """What is to grow.

        Args:
            labelled: whether there is gold.
        """
        if self.objective == "auto":
            return "entities" if labelled else "signals"
        return self.objective
