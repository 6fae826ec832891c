"""Weights inside a model in the prompts' own loop: LoRA's updates, and the model's own matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cuecard.lazy import nn, torch
from cuecard.types import Injection, InputTokens, ParameterGroup

if TYPE_CHECKING:
    from torch import Tensor


class ModelWeights:
    """Weights of a model as what a `Trainer` trains, beside an injection that stays as it is.

    Args:
        trained: holds them, float32.
        width: H, the backbone's hidden size.
        injection: added to every input; None for none.
    """

    def __init__(self, trained: nn.Module, width: int, injection: Injection | None = None) -> None:
        self._trained = trained
        self._injection = injection or InputTokens(torch.zeros(0, width))

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        return self._trained.parameters()

    def groups(self) -> tuple[ParameterGroup, ...]:
        """One, at the run's rate."""
        return (ParameterGroup(tuple(self.parameters())),)

    def injection(self) -> Injection:
        """The given one, or no vectors."""
        return self._injection

    def penalty(self) -> Tensor | None:
        """None."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The weights."""
        return dict(self._trained.state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Put weights in place."""
        return self._trained.load_state_dict(state_dict)
