"""Residual prompt tuning: every vector plus what a small network makes of it.

Formula: p_i' = p_i + phi(p_i), phi(p) = [LayerNorm](W_up ReLU(W_down p + b_down) + b_up), with one
phi for all vectors, or one for each ("separate").
Paper: Razdaibiedina et al., "Residual Prompt Tuning: Improving Prompt Tuning with Residual
Reparameterization" (ACL Findings 2023), sections 3.1 and 3.2; there the bottleneck is 800 or 400.
Reference code: arazd/ResidualPrompts, `prompt_tuner.py`. Its "MLP2" lists the same modules twice
and so shares their weights between two layers that should differ; it is left out here.

phi begins at zero, so that training begins at the init's vectors exactly: without a LayerNorm its
last layer is zero, with one the norm's gain (a norm after a zero layer would divide by nothing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cuecard.methods.start import StartSettings
from cuecard.types import InitContext

if TYPE_CHECKING:
    from cuecard.methods.modules.residual_prompt import ResidualPrompt


class ResidualPromptTuning(StartSettings):
    """Settings of residual prompt tuning.

    Attributes:
        bottleneck: the width between the two layers.
        layer_norm: whether the network's output is normalised.
        separate: a network for each vector instead of one for all.
        weights_lr: the peak learning rate of the network; the vectors take the run's.
    """

    name: ClassVar[str] = "residual"
    about: ClassVar[str] = "vectors, and a network whose output is added to each"

    bottleneck: int = Field(default=400, ge=1, le=8192)
    layer_norm: bool = False
    separate: bool = False
    weights_lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> ResidualPrompt:
        """Make the prompt.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        from cuecard.methods.modules.residual_prompt import ResidualPrompt  # noqa: PLC0415 - it needs torch

        return ResidualPrompt(self, self.start(context), context.generator)
