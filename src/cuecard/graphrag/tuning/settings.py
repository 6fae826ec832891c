"""How prompts are tuned."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cuecard.graphrag.selection import SelectionMethod


class TuneSettings(BaseModel):
    """How prompts are tuned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    selection: SelectionMethod = Field(
        default="random",
        description="How chunks are chosen: by chance, the first ones, all, or diverse: those in "
        "the middle of clusters of similar ones.",
    )
    chunks: int = Field(default=15, ge=1, description="Chunks that are chosen.")
    seed: int = Field(default=0, ge=0, description="Seed of what is left to chance.")
    embedder: str = Field(
        default="all-minilm-l6-v2",
        description="The model that tells how similar chunks are, for diverse ones: of the "
        "catalogue, or a folder.",
    )
    domain: str | None = Field(
        default=None, description="What the texts are about; by default the LLM says it."
    )
    language: str | None = Field(
        default=None, description="Language of descriptions; by default that of the texts."
    )
    types: tuple[str, ...] = Field(
        default=(), description="Types of entities; by default the LLM finds them."
    )
    find_types: bool | None = Field(
        default=None, description="Whether the LLM finds types; by default where none are given."
    )
    most_types: int = Field(
        default=8, ge=1, description="Types at most, the most frequent ones; given ones are kept."
    )
    examples: int = Field(
        default=3, ge=0, le=20, description="Examples in the prompt that finds entities."
    )
    example_tokens: int = Field(
        default=250, ge=20, description="Tokens of an example's text, at most."
    )
    call_tokens: int = Field(
        default=3000, ge=100, description="Tokens of the corpus in one request, at most."
    )
    prompt_tokens: int = Field(
        default=2000,
        ge=100,
        description="Tokens of the prompt that finds entities; its first example is always in it.",
    )
