"""The batches of one task: their order, what they ask of the backbone, and their loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from cuecard.lazy import torch
from cuecard.tasks import batches_by_length
from cuecard.tasks.encoding.batching import row_lengths
from cuecard.training.config import TrainConfig
from cuecard.training.objective.augmentation import augmented
from cuecard.training.objective.fluency import FluencyTerm
from cuecard.training.objective.held import HeldTo
from cuecard.training.objective.label_sample import Sample, sample_for
from cuecard.training.objective.loss import PromptBatch, Teacher, count_targets
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import State
from cuecard.types import Encoded, Head, Injection


class BatchSampler:
    """The endless sequence of batches; `epoch` and `position` say exactly which is next."""

    def __init__(self, rows: Sequence[Encoded], config: TrainConfig, state: State) -> None:
        self._rows, self._config = rows, config
        self._lengths = row_lengths(rows)
        self.epoch, self.position = state.epoch, state.position
        self._batches = self._shuffle()

    def _shuffle(self) -> list[list[int]]:
        return batches_by_length(
            self._lengths,
            self._config.batch_rows,
            self._config.batch_tokens,
            self._config.seed,
            self.epoch,
        )

    def take(self) -> list[Encoded]:
        """The next batch's rows."""
        if self.position >= len(self._batches):
            self.epoch, self.position = self.epoch + 1, 0
            self._batches = self._shuffle()
        batch = self._batches[self.position]
        self.position += 1
        return [self._rows[index] for index in batch]


Draw: TypeAlias = "tuple[int, ...]"
"""A run's seed, an epoch and a place in it: what a pass draws follows from it, resumed or not."""


class TaskBatches:
    """A task's batches in the current step, and their loss.

    Args:
        injection: makes the task's injection, with gradients, anew for every pass, whose number
            in the run decides what is drawn for it.
        state: keeps its epoch and position.
        teacher: what the loss also compares with; None for nothing.
        head: what answers under an injection instead of the LM head, with gradients; None for the
            LM head.
        held: the frozen model that the prompt is held to; None for none.
    """

    def __init__(
        self,
        setup: TrainSetup,
        injection: Callable[[Draw], Injection],
        state: State,
        teacher: Teacher | None = None,
        head: Callable[[Injection], Head | None] = lambda _: None,
        held: HeldTo | None = None,
    ) -> None:
        self.setup = setup
        self._injection, self._state, self._teacher = injection, state, teacher
        self._head, self._held = head, held
        self._sampler = BatchSampler(setup.rows, setup.config, state)
        self._batches: list[list[Encoded]] = []
        self._positions: list[tuple[int, int]] = []
        self.targets, self._loss = 0, 0.0

    def begin_step(self) -> None:
        """Draw the next step's batches."""
        setup, sampler = self.setup, self._sampler
        self._batches, self._positions = [], []
        for _ in range(setup.config.accumulation):
            self._batches.append(sampler.take())
            self._positions.append((sampler.epoch, sampler.position))
        self.targets = sum(count_targets(setup.loss, setup.spec, rows) for rows in self._batches)
        self._loss = 0.0

    def part(self, number: int) -> PromptBatch:
        """What a batch of the step asks of the backbone: this process's share of its rows."""
        setup, rows = self.setup, self._batches[number]
        position = self._positions[number]
        draw = (setup.config.seed, *position)
        injection = self._injection(draw)
        if setup.config.augment:
            rows = augmented(rows, setup.config.augment, draw)
        sample = self._sample(rows, position)
        ranks = setup.ranks
        if sample is not None and ranks.size > 1:
            sample = sample.of(ranks.share)
        return PromptBatch(
            setup.spec,
            ranks.share(rows),
            injection,
            setup.loss,
            setup.soft,
            self._head(injection),
            self._teacher,
            sample,
            self._held,
            setup.temperature,
            FluencyTerm.of(setup.config.fluency, draw),
            setup.taught,
        )

    def _sample(self, rows: Sequence[Encoded], position: tuple[int, int]) -> Sample | None:
        """The labels to compare, drawn for every batch; the same when it is run again."""
        setup = self.setup
        if setup.loss != "labels" or setup.soft is not None:
            return None
        return sample_for(setup.backbone, setup.spec, rows, (setup.config.seed, *position))

    def weighted(self, loss: torch.Tensor) -> torch.Tensor:
        """A batch's summed loss as its share of the mean over all the step's targets."""
        self._loss += float(loss.detach())
        return loss / self.targets

    @property
    def loss(self) -> float:
        """The step's mean loss, as far as this process knows it."""
        return self._loss / self.targets

    def save_state(self) -> None:
        """Put epoch and position into the state."""
        self._state.epoch, self._state.position = self._sampler.epoch, self._sampler.position
