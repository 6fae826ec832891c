"""What a run trains on: the same for every method, learning rate and start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.tasks import TaskSpec
from cuecard.training.budget.validation_plan import Looks
from cuecard.training.config import TrainConfig
from cuecard.training.loss import Resolved, SoftLabels
from cuecard.types import Backbone, Encoded


@dataclass(frozen=True, slots=True)
class Job:
    """A backbone, the encoded training rows, and how to learn from them.

    Attributes:
        soft: the label probabilities to learn instead of each row's own label; None for none.
        recompute: whether activations are computed again instead of kept.
        looks: its validations; None for as many as the settings say, on all labels.
    """

    backbone: Backbone
    spec: TaskSpec
    rows: Sequence[Encoded]
    config: TrainConfig
    loss: Resolved
    soft: SoftLabels | None = None
    recompute: bool = False
    looks: Looks | None = None

    @property
    def validate_every(self) -> int:
        """Steps between validations."""
        return self.config.validate_every if self.looks is None else self.looks.every
