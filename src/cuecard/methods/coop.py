"""Context optimisation (CoOp): vectors around the labels' names, for a model of images and texts.

Formula: p(y = k | x) = softmax_k(s cos(f(x), g([V]1 ... [V]n [name of k] .))) for the frozen image
and text towers f and g and their scale s; only the vectors V are trained.
Paper: Zhou, Yang, Loy, Liu, "Learning to Prompt for Vision-Language Models" (IJCV 2022), section
3.2: one context for all labels ("unified") or one for each ("class-specific"), drawn from
N(0, 0.02^2), or the embeddings of words. Reference code: KaiyangZhou/CoOp, `trainers/coop.py`.

The paper trains with SGD at 0.002 on augmented images; the default here is AdamW at that rate,
and images as they are, whose features are computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.methods.settings import MethodSettings
from cuecard.types import InitContext, InjectionKind, NamePlace, NamesContext, Tower

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.methods.modules.label_prompt import LabelPrompt

_LENGTH, _SCALE = 16, 0.02
_MAX_LENGTH = 256


class LabelSettings(MethodSettings):
    """Settings of a method with vectors around labels' names."""

    injects: ClassVar[tuple[InjectionKind, ...]] = ("label-tokens",)
    rate: ClassVar[str | None] = "context_lr"

    slot: Literal["prefix"] = Field(default="prefix", description="Labels have a place of theirs.")
    length: int | None = Field(
        default=None,
        ge=1,
        le=_MAX_LENGTH,
        description="Vectors around a label's name; by default 16, or as many as the text of the "
        "init text has tokens.",
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
            return drawn(self.length or _LENGTH, context)
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


def drawn(length: int, context: InitContext) -> Tensor:
    """[n, H] from N(0, 0.02^2), on the device of the tower that reads names."""
    table = names_in(context).embeddings
    size = length, table.shape[1]
    return (_SCALE * torch.randn(size, generator=context.generator)).to(table.device)


class CoOp(LabelSettings):
    """Settings of context optimisation.

    Attributes:
        context_lr: the peak learning rate of the vectors.
    """

    name: ClassVar[str] = "coop"
    about: ClassVar[str] = "vectors around the labels' names, in the tower that reads these"

    specific: bool = Field(
        default=False, description="Vectors for each label instead of some that all share."
    )
    place: NamePlace = Field(
        default="end",
        description="Where the label's name stands: behind the vectors (end), between two halves "
        "(middle), or in front of them (front).",
    )

    def build(self, context: InitContext) -> LabelPrompt:
        """Make the vectors.

        Raises:
            ConfigError: a text that does not fit the length.
        """
        from cuecard.methods.modules.label_prompt import LabelPrompt  # noqa: PLC0415 - it needs torch

        count = names_in(context).labels if self.specific else 1
        if self.init == "random" and self.specific:
            starts = torch.stack([self.start(context) for _ in range(count)])
        else:
            starts = self.start(context).expand(count, -1, -1)
        return LabelPrompt(starts[:, None].clone(), self.place)
