"""The order in which a run sees its rows."""

from __future__ import annotations

from collections.abc import Sequence

from cuecard.tasks import batches_by_length
from cuecard.training.config import TrainConfig
from cuecard.training.storage.checkpoint import State
from cuecard.types import Encoded


class Order:
    """The endless sequence of batches; epoch and position say exactly where it stands."""

    def __init__(self, rows: Sequence[Encoded], config: TrainConfig, state: State) -> None:
        self._rows, self._config = rows, config
        self._lengths = [len(row.context) + len(row.target) for row in rows]
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
