"""How prompts are ported, apart from which and for which inputs."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cuecard.errors import ConfigError
from cuecard.methods.names import METHODS, method_settings
from cuecard.metrics.margin import MARGIN


class PortConfig(BaseModel):
    """Settings of a port."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str | None = Field(
        default=None,
        description="What is trained for the new backbone; by default what each prompt was trained "
        "by, else the method that makes its kind of prompt.",
    )
    length: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="How many positions the new prompts take; by default as many as the old ones.",
    )
    top: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Of each answer token, the old prompt's likeliest, where both backbones have "
        "one tokenizer.",
    )
    tolerance: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="The share of held-out answers (of text: of their tokens) that may differ from "
        "the old prompt's, by the lower end of the 95% interval; 1 lets any.",
    )
    margin: float = Field(
        default=MARGIN,
        ge=0,
        lt=1,
        description="The largest loss of score allowed on --tests, as the upper end of its 95% "
        "interval.",
    )

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        """
        Raises:
            ConfigError: an unknown method, or one of several tasks.
        """
        if self.method is None:
            return self
        settings = METHODS.get(self.method)
        if settings is None:
            method_settings(self.method, {}, "method")
        elif settings.several_tasks:
            raise ConfigError(
                "this method shares a prompt between tasks, or mixes those of others",
                where="method",
                got=self.method,
                expected="a method that trains a prompt of one task, such as prompt-tuning",
            )
        return self
