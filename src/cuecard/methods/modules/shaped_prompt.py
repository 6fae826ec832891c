"""The vectors of a visual prompt behind its options. See `methods/image_options.py`."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from cuecard.methods.image_options import ImageSettings, projected_start
from cuecard.types import InitContext, InputTokens, LayerTokens, ParameterGroup


class ShapedPrompt(nn.Module):
    """Free vectors of the first layer [1, P, d] and of others [L - 1, P, d], and a projection.

    Args:
        starts: [L, P, H] where the prompt starts, before a Fourier transform.
        deep: whether it has vectors for every layer.
    """

    scale: Tensor

    def __init__(
        self, settings: ImageSettings, starts: Tensor, context: InitContext, *, deep: bool
    ) -> None:
        super().__init__()
        self._settings, self._deep = settings, deep
        device, length = starts.device, starts.shape[1]
        share = settings.fourier
        self._transformed = max(1, round(share * length)) if share else 0
        if settings.init != "xavier":
            starts = torch.cat(
                [_before(starts[:, : self._transformed]), starts[:, self._transformed :]], 1
            )
        free, self.weight, self.bias = starts.float(), None, None
        if settings.projection is not None:
            free, weight, bias = projected_start(settings, settings.projection, starts, context)
            self.weight, self.bias = nn.Parameter(weight.to(device)), nn.Parameter(bias.to(device))
        scale = torch.ones(length, 1, device=device)
        scale[: self._transformed] = 1 / math.sqrt(max(1, self._transformed) * free.shape[2])
        self.register_buffer("scale", scale, persistent=False)
        free = free.to(device) / scale
        self.first = nn.Parameter(free[:1].contiguous())
        self.others = nn.Parameter(free[1:].contiguous()) if deep else None

    def groups(self) -> tuple[ParameterGroup, ...]:
        """Every layer's vectors at the run's rate, the projection at a rate of its own."""
        groups = [ParameterGroup((self.first,))]
        if self.others is not None:
            groups.append(ParameterGroup((self.others,)))
        if self.weight is not None and self.bias is not None:
            rate = self._settings.projection_lr
            groups.append(ParameterGroup((self.weight, self.bias), rate))
        return tuple(groups)

    def injection(self) -> InputTokens | LayerTokens:
        """Plain vectors, with gradients to all of it; nothing is left out."""
        return self._made(None)

    def noisy_injection(self, draw: tuple[int, ...]) -> InputTokens | LayerTokens:
        """The same with dropout.

        Args:
            draw: decides what is left out.
        """
        return self._made(draw)

    def penalty(self) -> Tensor | None:
        """None."""
        return None

    def _made(self, draw: tuple[int, ...] | None) -> InputTokens | LayerTokens:
        free = self.first if self.others is None else torch.cat([self.first, self.others])
        vectors = free * self.scale
        if self.weight is not None:
            vectors = nn.functional.linear(vectors, self.weight, self.bias)
        share = self._settings.dropout
        if draw is not None and share:
            kept = np.random.default_rng(draw).random(vectors.shape) >= share
            vectors = vectors * torch.from_numpy(kept).to(vectors) / (1 - share)
        if count := self._transformed:
            waves = torch.fft.fft2(vectors[:, :count]).real
            vectors = torch.cat([waves, vectors[:, count:]], 1)
        return LayerTokens(vectors) if self._deep else InputTokens(vectors[0])


def _before(vectors: Tensor) -> Tensor:
    """[L, P, H] whose transform's real part is as near to these vectors as one can be.

    It is their even part, (v(p, h) + v(-p, -h)) / 2, which the transform gives back P H times.
    """
    if not vectors.shape[1]:
        return vectors
    waves: Tensor = torch.fft.fft2(vectors.float()).real
    return waves / vectors[0].numel()
