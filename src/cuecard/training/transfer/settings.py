"""How much is spent on the search for a prompt to start from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

# Of the run's steps, one start's in the search; fewer than the least tell starts apart badly.
_SHARE, _LEAST = 5, 10


class TransferConfig(BaseModel):
    """What a search for a prompt to start from may spend."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: int = Field(
        default=4,
        ge=1,
        description="Saved prompts that are trained for the search's steps beside the usual start, "
        "at most; a multitask run's shared prompt and the mix of all (ATTEMPT) in addition.",
    )
    search_steps: int | None = Field(
        default=None,
        ge=1,
        description="Optimiser steps of every start in the search, of the usual one too; by "
        "default a fifth of the training's, 10 at least.",
    )
    rows: int = Field(
        default=256,
        ge=1,
        description="Validation rows, at most, that every saved prompt is scored on before any "
        "training.",
    )

    def steps(self, of_run: int) -> int:
        """Steps of every start in the search before a run of so many."""
        return self.search_steps or max(_LEAST, of_run // _SHARE)
