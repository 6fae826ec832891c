"""Multi-modal prompt learning (MaPLe): vectors around labels' names, mapped into images.

Formula, for layers i = 1 .. J of both towers, P_{i-1} free and F_{i-1} linear:
text   [_, W_i] = L_i([P_{i-1}, W_{i-1}])
image  [c_i, E_i, _] = V_i([c_{i-1}, E_{i-1}, F_{i-1}(P_{i-1})])
Later layers take in what the layer before made of the places.
Paper: Khattak, Rasheed, Maaz, Khan, Khan, "MaPLe: Multi-modal Prompt Learning" (CVPR 2023), section
3.2. Reference code: muzairkhattak/multimodal-prompt-learning, `trainers/maple.py`.

The first layer's vectors start as the embeddings of the first words of "a photo of a", those of
later layers from N(0, 0.02^2), the couplings as PyTorch draws linear layers. The published code
puts the first vectors of an image in front of the norm that comes before its layers, here as in the
formula they are among what the first layer takes in; it trains with SGD at 0.0035, by default here
AdamW at 0.002.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cuecard.lazy import torch
from cuecard.methods.around_labels.settings import LabelSettings, deep, drawn
from cuecard.types import InitContext, InjectionKind, Tower

if TYPE_CHECKING:
    from cuecard.methods.modules.coupled_prompt import CoupledPrompt

_LENGTH = 2


class MaPLe(LabelSettings):
    """Settings of multi-modal prompt learning.

    Attributes:
        context_lr: the peak learning rate of vectors and couplings.
    """

    name: ClassVar[str] = "maple"
    about: ClassVar[str] = "vectors around labels' names in the first layers, and a map into images"

    length: int | None = Field(
        default=_LENGTH, ge=1, le=256, description="Vectors in front of a label's name, and images."
    )
    init: Literal["random", "text"] = Field(
        default="text",
        description="Where the first layer's vectors start. text: the embeddings of the first "
        "words of `text`. random: normal with a standard deviation of 0.02.",
    )
    depth: int | None = Field(
        default=None,
        ge=1,
        description="Layers with vectors of their own (J); by default 9, or all where there are "
        "fewer.",
    )

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]:
        """Vectors around the labels' names, and in front of patches."""
        return {"labels": self.injects, "vision": ("layer-tokens",)}

    def build(self, context: InitContext) -> CoupledPrompt:
        """Make the vectors and the couplings.

        Raises:
            ConfigError: more layers than a tower has, or a text with fewer words than vectors.
        """
        from cuecard.methods.modules.coupled_prompt import CoupledPrompt  # noqa: PLC0415 - it needs torch

        depth = deep(self.name, self.depth, context)
        first = self.start(context)
        later = [drawn(len(first), context) for _ in range(depth - 1)]
        width = context.towers["vision"].shape[-1]
        return CoupledPrompt(torch.stack([first, *later]), width, context.generator)

    def words(self, ids: list[int]) -> list[int]:
        """As many of the text's first tokens as there are vectors."""
        return ids[: self.length]
