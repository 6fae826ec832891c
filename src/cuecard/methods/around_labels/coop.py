"""Context optimisation (CoOp): vectors around the labels' names, for a model of images and texts.

Formula: p(y = k | x) = softmax_k(s cos(f(x), g([V]1 ... [V]n [name of k] .))) for the frozen image
and text towers f and g and their scale s; only the vectors V are trained.
Paper: Zhou, Yang, Loy, Liu, "Learning to Prompt for Vision-Language Models" (IJCV 2022), section
3.2: one context for all labels ("unified") or one for each ("class-specific"), drawn from
N(0, 0.02^2), or the embeddings of words. Reference code: KaiyangZhou/CoOp, `trainers/coop.py`.

The paper trains with SGD at 0.002 on augmented images; the default here is AdamW at that rate,
and images as they are, whose features are computed once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cuecard.lazy import torch
from cuecard.methods.around_labels.settings import LabelSettings, names_in
from cuecard.types import InitContext, NamePlace

if TYPE_CHECKING:
    from cuecard.methods.modules.label_prompt import LabelPrompt


class CoOp(LabelSettings):
    """Settings of context optimisation.

    Attributes:
        context_lr: the peak learning rate of the vectors.
    """

    name: ClassVar[str] = "coop"
    about: ClassVar[str] = "vectors around the labels' names, in the tower that reads these"

    specific: bool = Field(
        default=False, description="Vectors for each label instead of some that all share."
    )
    place: NamePlace = Field(
        default="end",
        description="Where the label's name stands: behind the vectors (end), between two halves "
        "(middle), or in front of them (front).",
    )

    def build(self, context: InitContext) -> LabelPrompt:
        """Make the vectors.

        Raises:
            ConfigError: a text that does not fit the length.
        """
        from cuecard.methods.modules.label_prompt import LabelPrompt  # noqa: PLC0415 - it needs torch

        count = len(names_in(context).names) if self.specific else 1
        if self.init == "random" and self.specific:
            starts = torch.stack([self.start(context) for _ in range(count)])
        else:
            starts = self.start(context).expand(count, -1, -1)
        return LabelPrompt(starts[:, None].clone(), self.place)
