"""The recipe of a comparison: what all contestants share, and who they are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from cuecard.errors import ConfigError
from cuecard.runs.recipe import AroundRecipe
from cuecard.runs.recipe_file import Section
from cuecard.runs.run_kinds import COMPARE
from cuecard.training.trainables.lora import LoraSettings

MOST_RATES = 5
NO_TEXTS = "none"
"""In place of general texts, where forgetting is not to be measured."""


class ContestSettings(Section):
    """Who competes, on how many rows, and what is measured beside the score."""

    contestants: tuple[str, ...] = Field(
        default=(
            *("majority", "tfidf", "embedding-lr", "zero-shot", "in-context", "start"),
            *("prompt-tuning", "lora"),
        ),
        min_length=1,
        description="Who competes, in the order in which they run: majority, tfidf, "
        "embedding-lr, zero-shot, in-context, search (of words), start (a prompt before its first "
        "step), auto (a race of methods), methods by their names such as prompt-tuning and "
        "p-tuning-v2, lora, lora+prompt (an adapter beside a prompt), lora+prompt-tuning (a prompt "
        "on a LoRA backbone), and full (every matrix).",
    )
    rates: int = Field(
        default=3,
        ge=1,
        le=MOST_RATES,
        description="How many learning rates everything that is trained is trained at, around its "
        "own default; the lowest validation loss decides.",
    )
    rows: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        default=(),
        description="Also compare on so many training rows, such as 32,128,512: a learning curve.",
    )
    general: str | None = Field(
        default=None,
        description="Texts that are not the task's, to measure forgetting on: a text file, a text "
        "a line, or a table with a column text; none measures no forgetting. By default texts "
        "that the frozen model itself writes.",
    )
    other_data: tuple[str, ...] = Field(
        default=(),
        exclude_if=lambda names: not names,
        description="Labelled data of other tasks, with columns text and label, to score with each "
        "contestant on and off: files, or data sets of the catalogue.",
    )
    price: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="What an hour of this machine costs, for a column of money.",
    )

    @field_validator("contestants")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """
        Raises:
            ConfigError: a name given twice.
        """
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(
                "a contestant is named twice", where="contestants", got=", ".join(sorted(twice))
            )
        return names

    @field_validator("rows")
    @classmethod
    def _ascending(cls, rows: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(rows)))


class CompareRecipe(AroundRecipe):
    """Everything a comparison depends on.

    Attributes:
        recipe: data, task, backbone and training of all; its method is prompt tuning's settings.
        lora: the adapter's settings.
    """

    KIND = COMPARE

    contest: ContestSettings = ContestSettings()
    lora: LoraSettings = LoraSettings()

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        general, others = self.contest.general, self.contest.other_data
        named = () if general in (None, NO_TEXTS) else (general,)
        return (*self.recipe.paths, *named, *others)
