"""Prefix tuning: keys and values in front of the input, which a network makes of free vectors.

Formula: [P_k; P_v]_i = W_2 tanh(W_1 e_i + b_1) + b_2, e in R^{P x E} free; then as in P-tuning v2.
Paper: Li, Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation" (ACL 2021), sections
4.2 and 4.3 (training P directly was unstable). Reference code: XiangLi1999/PrefixTuning,
`gpt2/train_control.py`: two layers with a tanh between, 800 or 512 wide.

The last layer is fitted so that training begins at the init's keys and values. The network is gone
at export: what is saved are keys and values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cuecard.methods.prefix_start import PrefixSettings
from cuecard.types import InitContext

if TYPE_CHECKING:
    from cuecard.methods.modules.made_prefix import MadePrefix


class PrefixTuning(PrefixSettings):
    """Settings of prefix tuning.

    Attributes:
        hidden: the network's inner width.
        weights_lr: the peak learning rate of the network; the free vectors take the optimiser's
            default.
    """

    name: ClassVar[str] = "prefix-tuning"
    about: ClassVar[str] = "keys and values that a network makes of free vectors, in every layer"
    rate: ClassVar[str | None] = "weights_lr"

    hidden: int = Field(default=512, ge=1, le=16384)
    weights_lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> MadePrefix:
        """Make the network and what goes into it.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        from cuecard.methods.modules.made_prefix import MadePrefix  # noqa: PLC0415 - it needs torch

        width = context.embeddings.shape[1]
        return MadePrefix(self, self.start(context), width, context.generator)
