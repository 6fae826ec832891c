"""Which LLM a run asks: a model of an endpoint, or one in this process."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, NonNegativeFloat

from cuecard.catalogue.entries import BACKBONES
from cuecard.runs.recipe_file import Section


class LLMRecipe(Section):
    """An LLM that a run asks.

    Attributes:
        FLAG: what it is chosen by on the command line.
        PREFIX: what its other flags begin with.
    """

    FLAG: ClassVar[str] = "--llm"
    PREFIX: ClassVar[str] = "--llm"

    model: str = Field(
        description="The LLM that writes: a model of the catalogue or a local folder, which runs "
        "in this process, or one of an endpoint, as it is called there."
    )
    url: str | None = Field(
        default=None,
        description="Address of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1; "
        "by default OpenAI's own, with the key in OPENAI_API_KEY.",
    )
    price: tuple[NonNegativeFloat, NonNegativeFloat] | None = Field(
        default=None,
        description="Dollars for a million tokens read, and for a million written; by default a "
        "known model's list price.",
    )
    seconds: float = Field(
        default=120.0, gt=0, description="Seconds that an endpoint's answer may take."
    )
    at_once: int = Field(default=8, ge=1, description="Requests at the same time.")

    @property
    def is_here(self) -> bool:
        """Whether it runs in this process: a model that is known by this name, and no address."""
        return self.url is None and (self.model in BACKBONES or Path(self.model).is_dir())
