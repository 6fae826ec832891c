"""Trackio: in `TRACKIO_PROJECT` or the project cuecard, on this machine or where it is told."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextvars import Context
from importlib import import_module
from pathlib import Path
from typing import Any

from cuecard.tracking.readings import Reading
from cuecard.tracking.tracker import title

PROJECT = "cuecard"


class Trackio:
    """A project, with a run for each part of ours, in one group."""

    def __init__(self, folder: Path, package: str) -> None:
        self._folder = folder
        self._project = os.environ.get("TRACKIO_PROJECT") or PROJECT
        # Where Trackio itself looks for a server other than this machine.
        server = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL") or ""
        self.place = " ".join(part for part in (server.partition("?")[0], self._project) if part)

    def has(self, run: str, known: str) -> bool:
        """See `Tracker`."""
        return True

    def open(self, run: str, known: str | None) -> TrackioRun:
        """See `Tracker`."""
        # A run is found by its name alone, and folders of one name are not one run.
        name = known or f"{title(self._folder, run)}-{secrets.token_hex(2)}"
        # In a context of its own: otherwise every new part would end the one before it, and the end
        # of the process the last one once more.
        made = Context().run(
            import_module("trackio").init,
            project=self._project,
            name=name,
            group=title(self._folder, ""),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return TrackioRun(made, name)


class TrackioRun:
    """See `TrackedRun`."""

    def __init__(self, run: Any, name: str) -> None:
        self.id, self._run = name, run

    def write_settings(self, values: Mapping[str, Any]) -> None:
        """See `TrackedRun`."""
        self._run.config.update(dict(values))

    def write(self, readings: Sequence[Reading]) -> None:
        """See `TrackedRun`."""
        for reading in readings:
            self._run.log(dict(reading.values), step=reading.step)

    def close(self, *, failed: bool) -> None:
        """See `TrackedRun`; Trackio knows no runs that failed."""
        self._run.finish()
