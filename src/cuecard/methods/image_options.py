"""What visual prompts may be made of: a projection, dropout and a Fourier transform.

Formula, for the free vectors Z [P, d] of a layer: [Re(F(Y_f)); Y_r], Y = dropout(Z W^T + b), with
Y_f the first vectors of Y, Y_r the others, and F the Fourier transform over both of Y_f's
dimensions, unnormalised. Without a projection d is H and Y = dropout(Z).
Papers: Jia et al., "Visual Prompt Tuning" (ECCV 2022), KMnP/vpt `vit_prompt/vit.py` (projection and
dropout, each shared by all layers); Zeng et al., "Visual Fourier Prompt Tuning" (NeurIPS 2024),
runtsang/VFPT (the transform). All of it folds into plain vectors when a prompt is saved.

Dropout is drawn for a batch, not for each of its images. What is transformed is learnt divided by
sqrt(P_f d), by which the transform enlarges it, so that one rate suits both parts. With the init
"xavier" Y starts as in the paper; with others such that Re(F(Y_f)) is as near to the init's vectors
as it can be, which is their even part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.methods.image_start import xavier
from cuecard.methods.start import StartSettings
from cuecard.types import InitContext

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.methods.modules.shaped_prompt import ShapedPrompt


class ImageSettings(StartSettings):
    """Settings of visual prompts; every default leaves the vectors as they are."""

    fourier: float = Field(
        default=0.0,
        ge=0,
        le=1,
        exclude_if=lambda share: share == 0,
        description="For images: the share of the vectors, one at least, that go through a Fourier "
        "transform (VFPT); 0 for none.",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        exclude_if=lambda share: share == 0,
        description="For images: the share of a prompt's numbers that a training step drops.",
    )
    projection: int | None = Field(
        default=None,
        ge=1,
        le=16384,
        exclude_if=lambda width: width is None,
        description="For images: the width of the free vectors that one linear layer projects to "
        "the model's; by default they are as wide as the model and there is no such layer.",
    )
    projection_lr: float = Field(
        default=1e-4,
        gt=0,
        allow_inf_nan=False,
        exclude_if=lambda rate: rate == 1e-4,
        description="The peak learning rate of the projection.",
    )

    @model_validator(mode="after")
    def _projected(self) -> ImageSettings:
        usual = type(self).model_fields["projection_lr"].default
        if self.projection is None and self.projection_lr != usual:
            raise ConfigError(
                "projection_lr is a setting of a projection",
                where=f"method {self.name}, projection_lr",
                got=f"projection_lr={self.projection_lr!r} without a projection",
                expected="a projection's width beside it",
            )
        return self

    @property
    def shapes(self) -> bool:
        """Whether a prompt is more than free vectors."""
        return bool(self.fourier or self.dropout or self.projection)

    def shaped(
        self, starts: Callable[[InitContext], Tensor], context: InitContext, *, deep: bool
    ) -> ShapedPrompt:
        """Make a prompt with its options.

        Args:
            starts: makes the init's vectors [L, P, H].
            deep: whether it has vectors for every layer.

        Raises:
            ConfigError: options of visual prompts on a model that sees no images, or an init that
                this backbone or task cannot give.
        """
        from cuecard.methods.modules.shaped_prompt import ShapedPrompt  # noqa: PLC0415 - it needs torch

        if not context.sees:
            given = [name for name in ("fourier", "dropout", "projection") if getattr(self, name)]
            raise ConfigError(
                "this is an option of prompts for images",
                where=f"method {self.name}, {given[0]}",
                got="a model that sees no images",
                expected="a vision encoder, or no such option",
            )
        return ShapedPrompt(self, starts(context), context, deep=deep)


def projected_start(
    settings: ImageSettings, width: int, starts: Tensor, context: InitContext
) -> tuple[Tensor, Tensor, Tensor]:
    """Free vectors Z [L, P, d], weight W [H, d] and bias b [H].

    With the init "xavier" as VPT draws them; with others such that training begins at the init's
    vectors, by their d first principal components, where d of them are enough.

    Args:
        width: d.
        starts: [L, P, H] the init's vectors.
    """
    generator, (layers, length, hidden) = context.generator, starts.shape
    weight = torch.randn(hidden, width, generator=generator) * math.sqrt(2 / hidden)
    if settings.init == "xavier":
        free = xavier((layers, length, width), context)
        bias = (2 * torch.rand(hidden, generator=generator) - 1) / math.sqrt(width)
        return free, weight, bias
    rows = starts.flatten(0, 1).double().cpu()
    bias = rows.mean(0)
    left, sizes, basis = torch.linalg.svd(rows - bias, full_matrices=False)
    rank = min(width, len(sizes))
    free = torch.zeros(len(rows), width, dtype=torch.float64)
    free[:, :rank] = left[:, :rank] * sizes[:rank]
    weight[:, :rank] = basis[:rank].T.float()
    return free.view(layers, length, width).float(), weight, bias.float()
