"""Prompt tuning: P free vectors among the input embeddings.

Formula: p(y | x) = LM([P; E(x)]), with P in R^{P x H} the only thing that is trained.
Paper: Lester, Al-Rfou, Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning"
(EMNLP 2021), sections 2 and 3.2 (inits: random, sampled vocabulary, class labels). Reference code:
google-research/prompt-tuning, `prompts.py`. The random init is scaled to the embedding table's RMS:
a unit normal beside embeddings of 0.02 is why public random inits often do not learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from cuecard.errors import ConfigError
from cuecard.types import InitContext, InputTokens, Slot

Init = Literal["random", "vocabulary", "text", "labels", "prompt"]

# Lester et al. sample from the 5,000 most common tokens; ids are roughly sorted by frequency.
_COMMON = 5000


class PromptTuning(BaseModel):
    """Settings of prompt tuning.

    Attributes:
        length: how many vectors, 1 to 1,000; None takes the init text's own length, or 20.
        init: where they start. "random": normal with the embedding table's RMS. "vocabulary":
            sampled without replacement from common tokens. "text": the embeddings of `text`,
            repeated or cut to the length. "labels": the mean of each label's tokens, the rest
            from the vocabulary. "prompt": a trained prompt's vectors, given as `prompt`.
        text: the text of the "text" init; by default a sentence made from the task.
        prompt: the [P, H] rows of the "prompt" init.
        slot: "prefix" (before the input) or "suffix" (between the input and the answer).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: ClassVar[str] = "prompt-tuning"

    length: int | None = Field(default=None, ge=1, le=1000)
    init: Init = "text"
    text: str | None = None
    prompt: Tensor | None = Field(default=None, exclude=True, repr=False)
    slot: Slot = "prefix"

    @model_validator(mode="after")
    def _complete(self) -> PromptTuning:
        missing = self.init == "prompt" and self.prompt is None
        for init, value in (("text", self.text), ("prompt", self.prompt)):
            if missing or (self.init != init and value is not None):
                raise ConfigError(
                    "the init and what it starts from do not go together",
                    where="method prompt-tuning, init",
                    got=f"init={self.init!r} with {init} {'missing' if missing else 'given'}",
                    expected="init='text' for a text, init='prompt' for a prompt",
                )
        return self

    def build(self, context: InitContext) -> SoftPrompt:
        """Make the prompt.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        table = context.embeddings.detach().float().cpu()
        vectors = _INITS[self.init](self, context, table)
        return SoftPrompt(vectors.to(context.embeddings.device).clone())


class SoftPrompt(nn.Module):
    """The prompt's vectors [P, H] in float32, whatever the backbone's precision."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors.float())

    def injection(self) -> InputTokens:
        """The vectors as they are."""
        return InputTokens(self.vectors)


def _random(config: PromptTuning, context: InitContext, table: Tensor) -> Tensor:
    rms = table.pow(2).mean().sqrt()
    return torch.randn(config.length or 20, table.shape[1], generator=context.generator) * rms


def _vocabulary(config: PromptTuning, context: InitContext, table: Tensor) -> Tensor:
    return _sample(config.length or 20, context, table)


def _sample(count: int, context: InitContext, table: Tensor) -> Tensor:
    common = [i for i in range(len(table)) if i not in context.special_ids][: max(_COMMON, count)]
    if len(common) < count:
        raise ConfigError(
            "the vocabulary is smaller than the prompt",
            where="method prompt-tuning, length",
            got=count,
            expected=f"at most {len(common)}",
        )
    order = torch.randperm(len(common), generator=context.generator)[:count]
    return table[torch.tensor(common)[order]]


def _text(config: PromptTuning, context: InitContext, table: Tensor) -> Tensor:
    text = context.text if config.text is None else config.text
    ids = context.encode(text)
    if not ids:
        raise ConfigError(
            "the init text has no tokens",
            where="method prompt-tuning, text",
            got=repr(text),
            expected="a text of at least one token",
        )
    length = config.length or len(ids)
    if length > 1000:
        raise ConfigError(
            "the init text is too long for a prompt",
            where="method prompt-tuning, text",
            got=f"{length} tokens",
            expected="at most 1,000 tokens, or a length to cut it to",
        )
    repeated = (ids * (length // len(ids) + 1))[:length]
    return table[torch.tensor(repeated)]


def _labels(config: PromptTuning, context: InitContext, table: Tensor) -> Tensor:
    if not context.labels:
        raise ConfigError(
            "the init 'labels' needs a task with labels",
            where="method prompt-tuning, init",
            got="a text-to-text task",
            expected="random, vocabulary, text or prompt",
        )
    length = config.length or 20
    means = [table[torch.tensor(ids)].mean(0) for ids in context.labels]
    rest = _sample(max(0, length - len(means)), context, table)
    return torch.cat([torch.stack(means), rest])[:length]


def _prompt(config: PromptTuning, context: InitContext, table: Tensor) -> Tensor:
    assert config.prompt is not None
    given = config.prompt.detach().float().cpu()
    if given.ndim != 2 or given.shape[1] != table.shape[1]:
        raise ConfigError(
            "the prompt to start from does not fit this backbone",
            where="method prompt-tuning, prompt",
            got=f"shape {tuple(given.shape)}",
            expected=f"shape (P, {table.shape[1]})",
        )
    length = config.length or len(given)
    if length <= len(given):
        return given[:length]
    return torch.cat([given, _sample(length - len(given), context, table)])


_INITS: dict[Init, Callable[[PromptTuning, InitContext, Tensor], Tensor]] = {
    "random": _random,
    "vocabulary": _vocabulary,
    "text": _text,
    "labels": _labels,
    "prompt": _prompt,
}
