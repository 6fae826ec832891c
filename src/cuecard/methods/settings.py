"""What the settings of every method have in common."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from cuecard.types import InitContext, InjectionKind, Method, Slot, Tower

UNREAD: Any = object()
"""Stands for the tensor of a prompt whose folder has not been read yet."""


def _tensor(value: Any) -> Any:
    """A value that is a tensor; without torch nothing is one, and torch is not imported to ask."""
    torch = sys.modules.get("torch")
    if value is not UNREAD and (torch is None or not isinstance(value, torch.Tensor)):
        raise ValueError("Input should be an instance of Tensor")
    return value


if TYPE_CHECKING:
    from torch import Tensor

    TensorField = Tensor
else:
    TensorField = Annotated[Any, PlainValidator(_tensor)]


class MethodSettings(BaseModel):
    """Settings of a method; `cuecard.types.MethodConfig` as a checked model.

    Attributes:
        name: what users call the method.
        about: what is trained, in a few words.
        injects: the kinds of injections that it puts into the text tower.
        reads_words: whether it needs a vocabulary, which a vision encoder has not.
        several_tasks: whether it shares a prompt between tasks or mixes those of others.
        rate: the setting that is the rate it chiefly learns with; None for the optimiser's default.
        prompt: a trained prompt's tensor to start from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    about: ClassVar[str]
    injects: ClassVar[tuple[InjectionKind, ...]] = ("input-tokens",)
    reads_words: ClassVar[bool] = False
    several_tasks: ClassVar[bool] = False
    rate: ClassVar[str | None] = None

    prompt: TensorField | None = Field(default=None, exclude=True, repr=False)
    slot: Slot = Field(
        default="prefix",
        description="Where the prompt goes: before the input, between it and the answer, or "
        "(infix) at {prompt} in the template, by default after its last field.",
    )

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]:
        """The kinds of injections that it puts into each tower, with these settings."""
        return {"text": self.injects}

    def rate_for_images(self, usual: float) -> float | None:
        """Its own rate for images where `rate` is not given; None for that setting's default.

        Args:
            usual: the optimiser's default.
        """
        return None

    @property
    def warm_start(self) -> tuple[Tensor, ...]:
        """The tensors to start from, which `model_dump` leaves out."""
        return () if self.prompt is None else (self.prompt,)

    @abstractmethod
    def build(self, context: InitContext) -> Method:
        """Make the method's first parameters.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
