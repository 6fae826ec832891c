"""TensorBoard: event files in the run's own folder, for `tensorboard --logdir runs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from cuecard.tracking.readings import Reading

FOLDER = "tensorboard"
# Both write the same files by the same class; the second is without TensorBoard itself.
WRITERS = {"tensorboard": "torch.utils.tensorboard", "tensorboardX": "tensorboardX"}


class TensorBoard:
    """Event files below a run's folder, a folder for each part of the run."""

    def __init__(self, folder: Path, package: str) -> None:
        self._folder, self._writers = folder / FOLDER, WRITERS[package]
        self.place = FOLDER  # in the run's folder, wherever that is moved

    def has(self, run: str, known: str) -> bool:
        """See `Tracker`."""
        return any((self._folder / run).glob("events.*"))

    def open(self, run: str, known: str | None) -> TensorBoardRun:
        """See `Tracker`."""
        writer = import_module(self._writers).SummaryWriter
        return TensorBoardRun(run or ".", writer(str(self._folder / run)))


class TensorBoardRun:
    """See `TrackedRun`."""

    def __init__(self, name: str, writer: Any) -> None:
        self.id, self._writer = name, writer

    def write_settings(self, values: Mapping[str, Any]) -> None:
        """See `TrackedRun`; a table on the page of texts."""
        rows = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)

    def write(self, readings: Sequence[Reading]) -> None:
        """See `TrackedRun`."""
        for reading in readings:
            for name, value in reading.values.items():
                self._writer.add_scalar(name, value, reading.step)
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """See `TrackedRun`."""
        self._writer.close()


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
