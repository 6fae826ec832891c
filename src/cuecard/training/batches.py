"""One task's rows on their way into a member's steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cuecard.lazy import torch
from cuecard.training.job import Job
from cuecard.training.label_sample import Sample, sample_for
from cuecard.training.loss import Part, Teacher, count_targets
from cuecard.training.order import Order
from cuecard.training.storage.checkpoint import State
from cuecard.types import Encoded, Head, Injection


class Feed:
    """A task's batches, what they ask of the backbone, and its loss in the step that is made.

    Args:
        injection: makes the task's injection, with gradients, anew for every pass.
        place: where its epoch and position are kept.
        teacher: what the loss also compares with; None for nothing.
        head: what answers instead of the LM head, with gradients; None for the LM head.
    """

    def __init__(
        self,
        job: Job,
        injection: Callable[[], Injection],
        place: State,
        teacher: Teacher | None = None,
        head: Callable[[], Head | None] = lambda: None,
    ) -> None:
        self.job = job
        self._injection, self._place, self._teacher = injection, place, teacher
        self._head = head
        self._order = Order(job.rows, job.config, place)
        self._batches: list[list[Encoded]] = []
        self._places: list[tuple[int, int]] = []
        self.targets, self._loss = 0, 0.0

    def begin(self) -> None:
        """Draw the next step's batches."""
        config = self.job.config
        self._batches, self._places = [], []
        for _ in range(config.accumulation):
            self._batches.append(self._order.take())
            self._places.append((self._order.epoch, self._order.position))
        job = self.job
        self.targets = sum(count_targets(job.loss, job.spec, rows) for rows in self._batches)
        self._loss = 0.0

    def part(self, number: int) -> Part:
        """What a batch of the step asks of the backbone."""
        job, rows = self.job, self._batches[number]
        injection, head = self._injection(), self._head()
        sample = self._sample(rows, self._places[number])
        return Part(job.spec, rows, injection, job.loss, job.soft, head, self._teacher, sample)

    def _sample(self, rows: Sequence[Encoded], place: tuple[int, int]) -> Sample | None:
        """The labels to compare, drawn anew for every batch; the same when it is run again."""
        job = self.job
        if job.loss != "labels" or job.soft is not None:
            return None
        return sample_for(job.backbone, job.spec, rows, (job.config.seed, *place))

    def share(self, loss: torch.Tensor) -> torch.Tensor:
        """A batch's summed loss as its share of the mean over all the step's targets."""
        self._loss += float(loss.detach())
        return loss / self.targets

    @property
    def loss(self) -> float:
        """The step's mean loss, as far as it is known."""
        return self._loss / self.targets

    def gather(self) -> None:
        """Note how far it has come."""
        self._place.epoch, self._place.position = self._order.epoch, self._order.position
