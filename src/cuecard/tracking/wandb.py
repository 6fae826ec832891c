"""Weights & Biases: in `WANDB_PROJECT` or the project cuecard, also offline."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from cuecard.tracking.readings import Reading
from cuecard.tracking.tracker import title

PROJECT = "cuecard"


class WeightsAndBiases:
    """A project, with a run for each part of ours, in one group."""

    def __init__(self, folder: Path, package: str) -> None:
        self._folder = folder
        self._project = os.environ.get("WANDB_PROJECT") or PROJECT
        entity, server = os.environ.get("WANDB_ENTITY", ""), os.environ.get("WANDB_BASE_URL", "")
        self.place = " ".join(part for part in (server, entity, self._project) if part)

    def has(self, run: str, known: str) -> bool:
        """See `Tracker`; it cannot be asked while it is offline."""
        return True

    def open(self, run: str, known: str | None) -> WeightsAndBiasesRun:
        """See `Tracker`."""
        wandb = import_module("wandb")
        made = wandb.init(
            project=self._project,
            name=title(self._folder, run),
            group=title(self._folder, ""),
            dir=str(self._folder),
            id=known or secrets.token_hex(8),
            resume="allow",
            reinit="create_new",  # the parts of a run are open beside each other
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )
        return WeightsAndBiasesRun(made)


class WeightsAndBiasesRun:
    """See `TrackedRun`."""

    def __init__(self, run: Any) -> None:
        self.id, self._run = str(run.id), run

    def write_settings(self, values: Mapping[str, Any]) -> None:
        """See `TrackedRun`."""
        self._run.config.update(dict(values), allow_val_change=True)

    def write(self, readings: Sequence[Reading]) -> None:
        """See `TrackedRun`."""
        for reading in readings:
            self._run.log(dict(reading.values), step=reading.step)

    def close(self, *, failed: bool) -> None:
        """See `TrackedRun`."""
        self._run.finish(exit_code=int(failed))
