"""Where the training of a compiled prompt starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.matching import matched
from cuecard.training.compiling.prompts import CompiledPrefix, CompiledSettings, CompiledVectors
from cuecard.training.compiling.settings import CompileConfig, Start
from cuecard.types import Encoded, InputTokens, PrefixKV

if TYPE_CHECKING:
    from torch import Tensor


def start_of(
    text: FullText, length: int, config: CompileConfig, rows: Sequence[Encoded] = ()
) -> CompiledSettings:
    """The settings of a prompt of so many positions, with the numbers that it starts from.

    Args:
        rows: inputs with the text's answers, which the start "matched" is fitted to.

    Raises:
        ConfigError: a closed form that this backbone does not give.
    """
    made = CompiledPrefix if config.injection == "prefix-kv" else CompiledVectors
    start, numbers = _numbers(text, length, config, rows)
    return made(
        prompt=numbers,
        slot="infix" if text.late else "prefix",
        source=text.digest,
        source_tokens=text.length,
        start=start,
    )


def injection_of_start(settings: CompiledSettings, text: FullText) -> InputTokens | PrefixKV:
    """What a prompt is before it is trained."""
    assert settings.prompt is not None
    if isinstance(settings, CompiledVectors):
        return InputTokens(settings.prompt)
    layers, _, heads, _, _ = text.keys_values.shape
    return PrefixKV.of_matrix(settings.prompt, layers, heads, late=text.late)


def _numbers(
    text: FullText, length: int, config: CompileConfig, rows: Sequence[Encoded]
) -> tuple[Start, Tensor]:
    """What it starts from, and those numbers."""
    if config.injection == "input-tokens":
        ids = torch.tensor(text.ids[:length], device=text.backbone.embeddings.device)
        return "first", text.backbone.embeddings[ids].float().cpu()
    if config.start == "matched" or (config.start == "auto" and rows):
        try:
            return "matched", matched(text, length, rows).matrix.cpu()
        except ConfigError:
            if config.start == "matched":
                raise
    return "first", text.first(length).matrix.cpu()
