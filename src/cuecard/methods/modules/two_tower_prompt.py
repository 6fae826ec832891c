"""Vectors in the layers of two towers, held to the frozen ones, and their average over a run."""

from __future__ import annotations

from torch import Tensor, nn

from cuecard.methods.modules.gaussian_average import GaussianAverage
from cuecard.types import Anchor, LabelTokens, LayerTokens, ParameterGroup, Towers


class TwoTowerPrompt(nn.Module):
    """Vectors [J, n, H] around names, and [J, m, W] in front of patches.

    Args:
        text, seen: where they start.
        anchor: what they are held to.
        parts, mean, deviation: see `GaussianAverage`.

    Attributes:
        anchor: the same.
    """

    def __init__(
        self,
        text: Tensor,
        seen: Tensor,
        anchor: Anchor,
        *,
        parts: int,
        mean: float,
        deviation: float,
    ) -> None:
        super().__init__()
        self.anchor = anchor
        self.text, self.seen = nn.Parameter(text.clone()), nn.Parameter(seen.clone())
        self.average = GaussianAverage([text, seen], parts=parts, mean=mean, deviation=deviation)

    def follow(self, step: int, steps: int) -> None:
        """Average in what a step of so many left."""
        self.average.follow([self.text, self.seen], step, steps)

    def injection(self) -> Towers:
        """The averages, as far as the run has come."""
        return _towers(*self.average.of([self.text, self.seen]))

    def latest_injection(self) -> Towers:
        """The vectors as they are, for both towers."""
        return _towers(self.text, self.seen)

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One, at the run's rate."""
        return (ParameterGroup((self.text, self.seen)),)

    def penalty(self) -> None:
        """None: what holds it hangs on a batch's images."""


def _towers(text: Tensor, seen: Tensor) -> Towers:
    return Towers({"labels": LabelTokens(text[None]), "vision": LayerTokens(seen)})
