"""What a tracker is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cuecard.tracking.readings import Reading


class TrackedRun(Protocol):
    """A run as a tracker keeps it.

    Attributes:
        id: what the tracker finds it by.
    """

    @property
    def id(self) -> str: ...

    def write_settings(self, values: Mapping[str, Any]) -> None:
        """Keep what the run was started with."""

    def write(self, readings: Sequence[Reading]) -> None:
        """Keep numbers."""

    def close(self, *, failed: bool) -> None:
        """The run has ended, or was stopped."""


class Tracker(Protocol):
    """Where runs are sent to.

    Attributes:
        place: its address: what was sent to one is not known to another.
    """

    @property
    def place(self) -> str: ...

    def has(self, run: str, known: str) -> bool:
        """Whether what was sent of a part of the run is still there, as far as can be told."""

    def open(self, run: str, known: str | None) -> TrackedRun:
        """Begin a part of the run, or go on with it.

        Args:
            run: the part; empty for the run itself, which is opened before its parts.
            known: the id of one that was begun earlier.
        """


def title(folder: Path, run: str) -> str:
    """What a tracker calls a part of the run in a folder."""
    name = folder.resolve().name
    return f"{name}/{run}" if run else name
