"""What methods with vectors around labels' names have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.methods.settings import MethodSettings
from cuecard.types import InitContext, InjectionKind, NamesContext, Tower

if TYPE_CHECKING:
    from torch import Tensor

_SCALE = 0.02
_DEPTH = 9
_MAX_LENGTH = 256


class LabelSettings(MethodSettings):
    """Settings of a method with vectors around labels' names."""

    injects: ClassVar[tuple[InjectionKind, ...]] = ("label-tokens",)
    rate: ClassVar[str | None] = "context_lr"
    usual_length: ClassVar[int] = 16

    slot: Literal["prefix"] = Field(default="prefix", description="Labels have a place of theirs.")
    length: int | None = Field(
        default=None,
        ge=1,
        le=_MAX_LENGTH,
        description="Vectors around a label's name; by default as many as the text of the init "
        "text has tokens, drawn ones as many as in the paper.",
    )
    init: Literal["random", "text"] = Field(
        default="random",
        description="Where the vectors start. random: normal with a standard deviation of 0.02. "
        "text: the embeddings of `text`, with which they start as the zero-shot classifier.",
    )
    text: str = Field(default="a photo of a", description="The text of the init text.")
    context_lr: float | None = Field(default=0.002, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _no_prompt(self) -> LabelSettings:
        if self.prompt is not None:
            raise ConfigError(
                "this method does not start from a prompt",
                where=f"method {self.name}, prompt",
                got="a prompt to start from",
                expected="init random or text",
            )
        return self

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]:
        """Vectors around the labels' names."""
        return {"labels": self.injects}

    def start(self, context: InitContext) -> Tensor:
        """[n, H] float32 on the device of the tower that reads names.

        Raises:
            ConfigError: a text without tokens, or of another number than the length.
        """
        if self.init == "random":
            return drawn(self.length or self.usual_length, context)
        names = names_in(context)
        ids = self.words(names.encode(self.text))
        if not ids or self.length not in (None, len(ids)):
            raise ConfigError(
                "the init text does not have a token for each vector",
                where=f"method {self.name}, text",
                got=f"{len(ids)} tokens in {self.text!r}",
                expected=f"{self.length or '1 or more'}",
                hint="leave out the length",
            )
        table = names.embeddings
        return table[torch.tensor(ids, device=table.device)].float()

    def words(self, ids: list[int]) -> list[int]:
        """The tokens of the text that the vectors start from."""
        return ids


def names_in(context: InitContext) -> NamesContext:
    """The tower that the names are read by."""
    assert context.names is not None, "a backbone without such a tower was refused before"
    return context.names


def deep(method: str, depth: int | None, context: InitContext) -> int:
    """How many of both towers' first layers have vectors; by default 9, or all of fewer.

    Raises:
        ConfigError: more layers than a tower has.
    """
    most = min(context.layers, names_in(context).layers)
    if depth is not None and depth > most:
        raise ConfigError(
            "the vectors are of more layers than the model has",
            where=f"method {method}, depth",
            got=depth,
            expected=f"at most {most}",
        )
    return min(_DEPTH, most) if depth is None else depth


def drawn(length: int, context: InitContext, tower: Tower = "labels") -> Tensor:
    """[n, H] from N(0, 0.02^2), on the device of the tower."""
    table = context.towers[tower]
    size = length, table.shape[1]
    return (_SCALE * torch.randn(size, generator=context.generator)).to(table.device)
