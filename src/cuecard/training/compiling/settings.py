"""How a text is compiled, apart from what and for which inputs."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cuecard.errors import ConfigError

CompiledKind = Literal["prefix-kv", "input-tokens"]
Start = Literal["first", "matched"]
StartWanted = Literal["auto", "first", "matched"]

_MOST = 1000  # positions of a prompt


class CompileConfig(BaseModel):
    """Settings of a compilation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    into: tuple[int, ...] = Field(
        default=(64,),
        min_length=1,
        description="How many positions the prompt takes; several numbers, separated by commas, "
        "are trained in the same passes, and the smallest that passes is kept.",
    )
    injection: CompiledKind = Field(
        default="prefix-kv",
        description="What is trained: keys and values of every layer (prefix-kv), or vectors among "
        "the input for engines that take nothing else (input-tokens).",
    )
    start: StartWanted = Field(
        default="auto",
        description="Where keys and values start: those of the text's first tokens (first), or a "
        "closed form that attends as the whole text does (matched); auto is matched where the "
        "backbone lets it be had.",
    )
    tolerance: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="The share of answer tokens (of labels) on validation inputs that may differ "
        "from the full text's; the smallest length within it is kept. By default the longest is.",
    )
    top: int = Field(
        default=20, ge=1, le=1000, description="Of each answer token, the teacher's likeliest."
    )

    @field_validator("into")
    @classmethod
    def _check_lengths(cls, into: tuple[int, ...]) -> tuple[int, ...]:
        """
        Raises:
            ConfigError: a number that no prompt can have, or one twice.
        """
        bad = [length for length in into if not 1 <= length <= _MOST]
        if bad or len({*into}) < len(into):
            raise ConfigError(
                "not the lengths of prompts",
                where="into",
                got=", ".join(map(str, into)),
                expected=f"numbers from 1 to {_MOST:,}, each once",
            )
        return tuple(sorted(into))

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        """
        Raises:
            ConfigError: a start that input vectors cannot have.
        """
        if self.injection == "input-tokens" and self.start == "matched":
            raise ConfigError(
                "input vectors start from the embeddings of the text's first tokens",
                where="start",
                got=self.start,
                expected="first, or keys and values",
            )
        return self
