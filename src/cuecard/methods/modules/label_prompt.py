"""Free vectors around labels' names."""

from __future__ import annotations

from torch import Tensor, nn

from cuecard.types import LabelTokens, NamePlace, ParameterGroup, Towers


class LabelPrompt(nn.Module):
    """Vectors [C, 1, n, H] around names.

    Args:
        start: where they start.
        place: where a name stands.
    """

    def __init__(self, start: Tensor, place: NamePlace) -> None:
        super().__init__()
        self.vectors = nn.Parameter(start)
        self._place = place

    def injection(self) -> Towers:
        """The vectors, for the tower that reads labels' names."""
        return Towers({"labels": LabelTokens(self.vectors, self._place)})

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One, at the run's rate."""
        return (ParameterGroup((self.vectors,)),)

    def penalty(self) -> None:
        """None."""
