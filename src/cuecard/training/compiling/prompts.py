"""What a text is compiled into: keys and values of every layer, or vectors among the input.

Eyuboglu et al., "Cartridges" (2025, arXiv:2506.06266), section 4: trained keys and values that
start from the text's own, at a rate of 0.02. The first one stays as it is: models attend to it
whatever it says (an attention sink), and a step there moves every answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cuecard.methods.modules.soft_prompt import SoftPrompt
from cuecard.methods.settings import MethodSettings
from cuecard.training.compiling.settings import Start
from cuecard.types import InitContext, InjectionKind, ParameterGroup, PrefixKV, Tower


class CompiledSettings(MethodSettings):
    """What a compiled prompt's folder says of where it comes from.

    Attributes:
        source: SHA-256 of the text.
        source_tokens: how many tokens it has.
        start: where training started.
        prompt: those numbers.
    """

    source: str
    source_tokens: int = Field(ge=1)
    start: Start = "first"
    slot: Literal["prefix", "infix"] = "prefix"


class CompiledPrefix(CompiledSettings):
    """Keys and values in front of the input.

    Attributes:
        values_lr: the peak learning rate.
    """

    name: ClassVar[str] = "compiled-prefix"
    about: ClassVar[str] = "keys and values that stand for a text, in every layer"
    injects: ClassVar[tuple[InjectionKind, ...]] = ("prefix-kv",)
    rate: ClassVar[str | None] = "values_lr"

    values_lr: float = Field(default=0.02, gt=0, allow_inf_nan=False)

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]:
        """Keys and values, in front of the input or after what comes before the text."""
        return {"text": ("late-prefix-kv",) if self.slot == "infix" else self.injects}

    def build(self, context: InitContext) -> SinkingPrefix:
        """The keys and values that it starts from."""
        assert self.prompt is not None
        found = context.states(context.embeddings[:1]).keys_values
        assert found is not None, "a backbone without plain keys and values was refused before"
        layers, _, heads, _, _ = found.shape
        start = PrefixKV.of_matrix(self.prompt, layers, heads).keys_values
        return SinkingPrefix(start.to(context.embeddings.device), late=self.slot == "infix")


class CompiledVectors(CompiledSettings):
    """Vectors among the input embeddings, for engines that take nothing else."""

    name: ClassVar[str] = "compiled-vectors"
    about: ClassVar[str] = "input vectors that stand for a text"

    def build(self, context: InitContext) -> SoftPrompt:
        """The vectors that it starts from."""
        assert self.prompt is not None
        return SoftPrompt(self.prompt.to(context.embeddings.device).clone())


class SinkingPrefix(nn.Module):
    """Keys and values [L, 2, K, P, D] in float32, of which the first position is not trained."""

    def __init__(self, keys_values: Tensor, *, late: bool) -> None:
        super().__init__()
        self._late = late
        kept = 1 if keys_values.shape[3] > 1 else 0
        self.sink: Tensor
        self.register_buffer("sink", keys_values[..., :kept, :].float().clone())
        self.keys_values = nn.Parameter(keys_values[..., kept:, :].float().clone())

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One rate, the run's."""
        return (ParameterGroup((self.keys_values,)),)

    def injection(self) -> PrefixKV:
        """All of them."""
        return PrefixKV(torch.cat([self.sink, self.keys_values], 3), self._late)

    def penalty(self) -> Tensor | None:
        """None."""
        return None
