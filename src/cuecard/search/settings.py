"""How a search goes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SearchSettings(BaseModel):
    """How a search goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="Seed of all that is left to chance.")
    rows: int = Field(
        default=90,
        ge=4,
        description="Training rows that candidates race on, at most; never more than half of them.",
    )
    proposals: int = Field(default=8, ge=1, description="Candidates a round.")
    rounds: int = Field(default=100, ge=1, description="Rounds at most.")
    finalists: int = Field(
        default=3,
        ge=1,
        description="Candidates that answer all validation rows, beside the prompt as it was.",
    )
    block: int = Field(default=30, ge=2, description="Rows that a race goes on by.")
    show: Literal["random", "typical", "diverse"] = Field(
        default="random",
        exclude_if=lambda way: way == "random",
        description="How the searcher demonstrations chooses rows of each label: by chance, those "
        "nearest to their label's mean vector, or those farthest from each other.",
    )
    words_by: Literal["likelihood", "probe"] | None = Field(
        default=None,
        exclude_if=lambda way: way is None,
        description="How label-words finds words, and autoprompt in its first round where this is "
        "given: by what the model says after the labels' rows (likelihood), or by a probe of its "
        "states there (probe, as in AutoPrompt's paper).",
    )
    trigger_tokens: int | None = Field(
        default=None,
        ge=1,
        le=200,
        exclude_if=lambda count: count is None,
        description="Tokens of the instruction that gradients change; by default as many as it "
        "has, 10 without one.",
    )
    fluency: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        exclude_if=lambda weight: weight == 0,
        description="Of searches by gradients: what the mean -log p of the instruction's own words "
        "weighs beside the loss.",
    )
    population: int | None = Field(
        default=None,
        ge=4,
        exclude_if=lambda count: count is None,
        description="Candidates of a generation of bbt, or of a step of rlprompt; by default 20 "
        "and 16, as in their papers. Of autoprompt and gcg swaps of a token in a step; 32.",
    )
    step_rows: int | None = Field(
        default=None,
        ge=1,
        exclude_if=lambda count: count is None,
        description="Training rows of a generation (by default 32) or a step (16).",
    )
    written_tokens: int = Field(
        default=5,
        ge=1,
        le=100,
        exclude_if=lambda count: count == 5,
        description="Tokens of an instruction that rlprompt writes.",
    )
