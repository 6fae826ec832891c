"""Finished runs, sent to trackers from their logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.errors import DataError
from cuecard.tracking.trackers import TrackerName
from cuecard.tracking.tracking import Tracking
from cuecard.training.storage.log import FILE, read_log

_BEST = "best"
# What is told in these folders is told as of the run itself while it goes on: the end of a sweep's
# chosen trial, and a race that has a folder of its own.
_OF_THE_RUN = ((), (_BEST,), ("race",))
# What is in the folder of a run whose own log is elsewhere, or only that of its parts.
_PARTS = (
    *(_BEST, "trials", "tasks", "patterns", "sets"),
    *("contests", "lengths", "select", "retrain"),
)


@dataclass(frozen=True)
class Replayed:
    """What a run's logs brought a tracker.

    Attributes:
        run: its folder.
        sent: how many numbers were sent.
        known: how many it had been sent before.
        error: why it took no more; None for nothing.
    """

    run: Path
    tracker: TrackerName
    sent: int
    known: int
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """The same as a flat mapping."""
        return {**vars(self), "run": str(self.run)}


def runs_in(folder: Path) -> list[Path]:
    """The run in a folder, or else the runs in the folders in it.

    Raises:
        DataError: there is no log.
    """
    if not folder.is_dir():
        raise DataError("there is no such run", where=str(folder), expected="a run's folder")
    if any((folder / name).exists() for name in (FILE, *_PARTS)):
        found = [folder]
    else:
        found = sorted(path for path in folder.iterdir() if path.is_dir())
    found = [path for path in found if any(_logs(path))]
    if not found:
        raise DataError(
            "there is no run with a log here",
            where=str(folder),
            expected=f"a run's folder, with its {FILE}, or a folder of runs",
        )
    return found


def replay(folder: Path, names: Sequence[TrackerName]) -> list[Replayed]:
    """Send a run's logs; what was sent before is not sent again.

    Raises:
        ConfigError: a tracker's package is not installed.
    """
    with Tracking(names, folder) as tracking:
        for run, path in _logs(folder):
            for event in read_log(path):
                tracking.take(event, run)
    return [
        Replayed(folder, one.name, one.sent, one.known, one.problem) for one in tracking.senders
    ]


def _logs(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each part of a run as it was called while it ran, and the folder with its log."""
    for path in sorted(folder.rglob(FILE)):
        parts = path.parent.relative_to(folder).parts
        yield "" if parts in _OF_THE_RUN else "/".join(parts), path.parent
