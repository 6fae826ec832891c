"""The proof that training leaves the backbone as it was: its bytes and its answers."""

from __future__ import annotations

from cuecard.errors import FrozenError
from cuecard.lazy import torch
from cuecard.training.checks import plain_answer
from cuecard.training.setup import TrainSetup


class FrozenProof:
    """What the backbone was before the training."""

    def __init__(self, setup: TrainSetup) -> None:
        self._backbone, self._row, self._spec = setup.backbone, setup.rows[0], setup.spec
        self._digest = self._backbone.digest()
        self._answer = plain_answer(self._backbone, self._row, self._spec)

    def check(self) -> None:
        """
        Raises:
            FrozenError: other bytes, or other answers.
        """
        same_bytes = self._backbone.digest() == self._digest
        answer = plain_answer(self._backbone, self._row, self._spec)
        if not same_bytes or not torch.equal(answer, self._answer):
            raise FrozenError(
                "the backbone changed during training",
                where=self._backbone.name,
                got="other answers" if same_bytes else "other parameters",
                expected="the same bytes and bit-identical answers",
            )
