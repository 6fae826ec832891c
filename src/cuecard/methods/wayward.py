"""Prompt tuning that stays near a text, so that the prompt can be read.

Formula: loss + gamma (1/P) sum_i ||p_i - d_i||^2, with d_i the embeddings of the text it starts
from. Paper: Khashabi et al., "Prompt Waywardness: The Curious Case of Discretized Interpretation of
Continuous Prompts" (NAACL 2022), section 3; gamma 0.01 is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cuecard.methods.start import StartSettings
from cuecard.types import InitContext

if TYPE_CHECKING:
    from cuecard.methods.modules.readable_prompt import ReadablePrompt


class Wayward(StartSettings):
    """Settings of readable prompts.

    Attributes:
        gamma: the weight of the distance to the text. 0 is prompt tuning; the larger, the nearer.
    """

    name: ClassVar[str] = "wayward"
    about: ClassVar[str] = "vectors kept near those of a text, so that they can be read"
    reads_words: ClassVar[bool] = True

    init: Literal["text"] = Field(
        default="text", description="Start from a text, the one that the prompt stays near."
    )
    gamma: float = Field(default=0.01, ge=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> ReadablePrompt:
        """Make the prompt.

        Raises:
            ConfigError: a text without tokens, or one that is too long.
        """
        from cuecard.methods.modules.readable_prompt import ReadablePrompt  # noqa: PLC0415 - it needs torch

        return ReadablePrompt(self.start(context), self.gamma)
