"""Prompt tuning: P free vectors among the input embeddings.

Formula: p(y | x) = LM([P; E(x)]), with P in R^{P x H} the only thing that is trained.
Paper: Lester, Al-Rfou, Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning"
(EMNLP 2021), section 2. Reference code: google-research/prompt-tuning, `prompts.py`.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from cuecard.methods.start import StartSettings
from cuecard.types import InitContext, InputTokens, ParameterGroup


class PromptTuning(StartSettings):
    """Settings of prompt tuning: a length, an init, a slot; see `StartSettings`."""

    name: ClassVar[str] = "prompt-tuning"
    about: ClassVar[str] = "vectors among the input embeddings"

    def build(self, context: InitContext) -> SoftPrompt:
        """Make the prompt.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        return SoftPrompt(self.start(context))


class SoftPrompt(nn.Module):
    """The prompt's vectors [P, H] in float32, whatever the backbone's precision."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors.float())

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One rate, the run's."""
        return (ParameterGroup((self.vectors,)),)

    def injection(self) -> InputTokens:
        """The vectors as they are."""
        return InputTokens(self.vectors)

    def penalty(self) -> Tensor | None:
        """None."""
        return None
