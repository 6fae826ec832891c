"""What contestants scored on the validation rows, so that no prompt is scored twice."""

from __future__ import annotations

from collections.abc import Mapping

from cuecard.artifacts.tensors import tensors_of
from cuecard.lazy import torch
from cuecard.training.objective.validation import Validation
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.head import head_of
from cuecard.types import Method


class RaceScores:
    """Validations of a race.

    Contestants that differ in their rate alone start alike, and the best one goes on from where its
    race ended.
    """

    def __init__(self) -> None:
        self._known: list[tuple[str, Mapping[str, torch.Tensor], Validation]] = []

    def of(self, alike: str, setup: TrainSetup, method: Method) -> Validation:
        """Validate a method, unless one with the same numbers was validated before.

        Args:
            alike: what contestants have in common whose numbers mean the same.
        """
        tensors = tensors_of(method.injection(), head_of(method))
        for other, known, validation in self._known:
            if other == alike and _equal(known, tensors):
                return validation
        found = setup.validate(method)
        kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self._known.append((alike, kept, found))
        return found


def _equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(tensor, other[name]) for name, tensor in one.items()
    )
