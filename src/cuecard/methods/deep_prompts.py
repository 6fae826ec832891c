"""Deep prompts: vectors at the prompt's places anew at every layer's input.

Formula: layer l takes [P^l; x^l] where prompt tuning gives it what layer l - 1 made of P^{l-1}.
Paper: Jia et al., "Visual Prompt Tuning" (ECCV 2022), section 3.1, "VPT-Deep", here on text too.
Reference code: KMnP/vpt, `src/models/vit_prompt/vit.py`.

The first layer's vectors are those of an init of prompt tuning; each other layer starts with what
the backbone makes of them alone there, so that an early prompt begins as prompt tuning does. With
the inits "xavier" (the paper's own), "patches" and "vipamin" every layer has its own start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cuecard.lazy import torch
from cuecard.methods.image_options import ImageSettings
from cuecard.methods.image_start import LAYERED
from cuecard.types import InitContext, InjectionKind

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.methods.modules.layer_prompts import LayerPrompts
    from cuecard.methods.modules.shaped_prompt import ShapedPrompt


class DeepPrompts(ImageSettings):
    """Settings of deep prompts.

    Attributes:
        slot: "prefix" or "infix". After everything, what a layer made of the prompt would be
            replaced before anything has seen it, and only the last layer's vectors would matter.
        layers_lr: the peak learning rate of all layers' vectors but the first's, since hidden
            states are larger than embeddings. The first's take the optimiser's default, as all do
            with None. For images all layers' vectors learn at it, and it is a tenth of that by
            default: encoders take in more than their later layers do.
    """

    name: ClassVar[str] = "deep-prompts"
    about: ClassVar[str] = "vectors at the prompt's places, new ones in every layer"
    injects: ClassVar[tuple[InjectionKind, ...]] = ("layer-tokens",)
    rate: ClassVar[str | None] = "layers_lr"

    slot: Literal["prefix", "infix"] = "prefix"
    layers_lr: float | None = Field(default=0.01, gt=0, allow_inf_nan=False)

    def rate_for_images(self, usual: float) -> float:
        """A tenth of what suits the first layer's input alone."""
        return 0.1 * usual

    def build(self, context: InitContext) -> LayerPrompts | ShapedPrompt:
        """Make every layer's vectors.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        from cuecard.methods.modules.layer_prompts import LayerPrompts  # noqa: PLC0415 - it needs torch

        if self.shapes:
            return self.shaped(self._starts, context, deep=True)
        starts = self._starts(context)
        return LayerPrompts(starts[0].clone(), starts[1:].clone(), one_rate=context.sees)

    def _starts(self, context: InitContext) -> Tensor:
        """[L, P, H]."""
        if self.init in LAYERED:
            return self.layer_starts(context, context.layers)
        first = self.start(context)
        return torch.cat([first[None], context.states(first).hidden[1:].to(first)])
