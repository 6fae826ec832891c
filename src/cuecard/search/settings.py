"""How a search goes."""

from __future__ import annotations

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
