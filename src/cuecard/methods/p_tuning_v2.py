"""P-tuning v2: free keys and values in front of the input, in every layer.

Formula: in layer l, softmax(q [P_k^l; K]^T / sqrt D) [P_v^l; V], with P_k, P_v in R^{L x K x P x D}
trained as they are.
Paper: Liu et al., "P-Tuning v2: Prompt Tuning Can Be Comparable to Fine-tuning Universally Across
Scales and Tasks" (ACL 2022), section 3.2. Reference code: THUDM/P-tuning-v2,
`model/prefix_encoder.py`. K counts key heads, not query heads (grouped-query attention).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cuecard.methods.prefix_start import PrefixSettings
from cuecard.types import InitContext

if TYPE_CHECKING:
    from cuecard.methods.modules.free_prefix import FreePrefix


class PTuningV2(PrefixSettings):
    """Settings of P-tuning v2.

    Attributes:
        values_lr: the peak learning rate of keys and values, which are larger than embeddings;
            None takes the optimiser's default. For images it is 0.1 by default.
    """

    name: ClassVar[str] = "p-tuning-v2"
    about: ClassVar[str] = "keys and values in front of the input, in every layer"
    rate: ClassVar[str | None] = "values_lr"

    values_lr: float | None = Field(default=0.01, gt=0, allow_inf_nan=False)

    def rate_for_images(self, usual: float) -> float:
        """Keys and values are made of normed states: of one size, whatever an encoder takes in."""
        return 0.1

    def build(self, context: InitContext) -> FreePrefix:
        """Make the keys and values.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        from cuecard.methods.modules.free_prefix import FreePrefix  # noqa: PLC0415 - it needs torch

        return FreePrefix(self.start(context), late=self.late)
