"""Conditional context optimisation (CoCoOp): vectors around names that an image moves.

Formula: p(y = k | x) = softmax_k(s cos(v, g([V1 + h(v)] ... [Vn + h(v)] [name of k] .))), v = f(x)
of unit length, h(v) = W2 relu(W1 v + b1) + b2, for the frozen image and text towers f and g and
their scale s; the vectors V and the meta-net h are trained.
Paper: Zhou, Yang, Loy, Liu, "Conditional Prompt Learning for Vision-Language Models" (CVPR 2022),
section 3.2. Reference code: KaiyangZhou/CoOp, `trainers/cocoop.py`.

The vectors start as the embeddings of "a photo of a", both linear layers as PyTorch draws them. The
paper trains with SGD at 0.002 on one augmented image a step; the default here is AdamW at that
rate, and images as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cuecard.methods.around_labels.settings import LabelSettings, names_in
from cuecard.types import InitContext

if TYPE_CHECKING:
    from cuecard.methods.modules.conditional_prompt import ConditionalPrompt


class CoCoOp(LabelSettings):
    """Settings of conditional context optimisation.

    Attributes:
        context_lr: the peak learning rate of vectors and meta-net.
    """

    name: ClassVar[str] = "cocoop"
    about: ClassVar[str] = (
        "vectors around the labels' names, and a network that moves them by image"
    )
    usual_length: ClassVar[int] = 4

    init: Literal["random", "text"] = Field(
        default="text",
        description="Where the vectors start. text: the embeddings of `text`. random: normal with "
        "a standard deviation of 0.02.",
    )
    reduction: int = Field(
        default=16,
        ge=1,
        description="How many times narrower the meta-net's hidden layer is than an image's "
        "vector.",
    )

    def build(self, context: InitContext) -> ConditionalPrompt:
        """Make the vectors and the meta-net.

        Raises:
            ConfigError: a text that does not fit the length.
        """
        from cuecard.methods.modules.conditional_prompt import ConditionalPrompt  # noqa: PLC0415 - it needs torch

        names = names_in(context)
        width = names.width()
        return ConditionalPrompt(
            self.start(context),
            names.names,
            width=width,
            middle=max(1, width // self.reduction),
            generator=context.generator,
        )
