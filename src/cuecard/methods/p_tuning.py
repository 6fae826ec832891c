"""P-tuning: the prompt's vectors come out of an encoder over free embeddings.

Formula: P = MLP(BiLSTM(e)), e in R^{P x H} free ("lstm"); or P = MLP(e) ("mlp").
Paper: Liu et al., "GPT Understands, Too" (2021, arXiv:2103.10385), section 3.2. Reference code:
THUDM/P-tuning, `LAMA/p_tuning/prompt_encoder.py`: two layers of LSTM, H / 2 wide each way, then two
linear layers with a ReLU between. The "mlp" encoder is PEFT's, three linear layers.

A fresh encoder gives vectors of no particular place or size. Here its last layer is fitted by
least squares, so that the prompt begins at the init's vectors (to rounding, while it is no longer
than the encoder is wide). The encoder is gone at export: what is saved is P.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cuecard.methods.start import StartSettings
from cuecard.types import InitContext

if TYPE_CHECKING:
    from cuecard.methods.modules.encoded_prompt import EncodedPrompt


class PTuning(StartSettings):
    """Settings of P-tuning.

    Attributes:
        encoder: "mlp" or "lstm".
        hidden: the encoder's inner width; None takes the backbone's width. An even number for the
            LSTM, half of it each way.
        weights_lr: the peak learning rate of the encoder; the free embeddings take the optimiser's
            default.
    """

    name: ClassVar[str] = "p-tuning"
    about: ClassVar[str] = "vectors that an MLP or LSTM makes of free embeddings"
    rate: ClassVar[str | None] = "weights_lr"

    encoder: Literal["mlp", "lstm"] = "mlp"
    hidden: int | None = Field(default=None, ge=2, le=16384)
    weights_lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False)

    def build(self, context: InitContext) -> EncodedPrompt:
        """Make the encoder and what goes into it.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        from cuecard.methods.modules.encoded_prompt import EncodedPrompt  # noqa: PLC0415 - it needs torch

        return EncodedPrompt(self, self.start(context), context.generator)
