"""Decomposed prompt tuning (DePT): a shorter prompt and a low-rank update of the embeddings.

Formula: LM([P; E(x) + (alpha / sqrt r) A[:T] B]), with P in R^{P x H}, A in R^{S x r}, B in
R^{r x H}, B = 0 at the start, and two learning rates.
Paper: Shi, Lipani, "DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-tuning" (ICLR
2024), section 3. The scale is the published code's (ZhengxiangShi/DePT,
`peft/tuners/prompt_tuning_lora.py`); the paper has none. That code pads every batch to S tokens;
here A is cut to the row, so short rows stay short. Tokens after place S are left as they are.

At export A B folds to [S, H] numbers, S times as many as one vector: choose S no longer than the
inputs are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cuecard.methods.start import StartSettings
from cuecard.types import InitContext, InjectionKind

if TYPE_CHECKING:
    from cuecard.methods.modules.decomposed_prompt import DecomposedPrompt


class DePT(StartSettings):
    """Settings of decomposed prompt tuning.

    Attributes:
        rank: r; 0 < r.
        tokens: S, the places from the row's first token on whose embeddings are updated.
        alpha: the update's scale is alpha / sqrt(r).
        update_lr: the peak learning rate of A and B; the prompt takes the run's.
    """

    name: ClassVar[str] = "dept"
    about: ClassVar[str] = "a short prompt, and a low-rank update of the embeddings of the input"
    injects: ClassVar[tuple[InjectionKind, ...]] = ("input-tokens", "token-shifts")

    rank: int = Field(default=8, ge=1, le=1024)
    tokens: int = Field(default=128, ge=1, le=4096)
    alpha: float = Field(default=8.0, gt=0, allow_inf_nan=False)
    update_lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> DecomposedPrompt:
        """Make the prompt and its update.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        from cuecard.methods.modules.decomposed_prompt import DecomposedPrompt  # noqa: PLC0415 - it needs torch

        return DecomposedPrompt(self, self.start(context), context.generator)
