"""The run's log: one JSON object per line, and the only truth about the run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cuecard.plain_files import writing_to

Observer = Callable[[dict[str, Any]], None]
"""Is told what happens, event by event."""

FILE = "log.jsonl"


class RunLog:
    """Append events to `log.jsonl` and hand them to an observer.

    Args:
        folder: the run's folder; None keeps no file.
        keep_bytes: how much of an earlier log is kept; the rest was written after the checkpoint
            that the run resumes from, and is dropped with the first new event.
    """

    def __init__(
        self, folder: Path | None, observer: Observer | None = None, keep_bytes: int = 0
    ) -> None:
        self._path = None if folder is None else folder / FILE
        self._observer = observer
        self._keep: int | None = keep_bytes

    def write(self, event: str, **values: Any) -> None:
        """Append one event; it is on disk, whole, when this returns.

        Raises:
            FileError: the log cannot be written.
        """
        row = {"event": event, **values}
        if self._path is not None:
            if self._keep is not None:
                self.cut(self._keep)
            line = json.dumps(row, ensure_ascii=False) + "\n"
            with writing_to(self._path), self._path.open("ab") as file:
                file.write(line.encode("utf-8", "backslashreplace"))
        if self._observer is not None:
            self._observer(row)

    def tell(self, event: str, **values: Any) -> None:
        """Hand an event to the observer alone."""
        if self._observer is not None:
            self._observer({"event": event, **values})

    def count(self, what: str, total: int) -> Callable[[int], None] | None:
        """A callback that takes how many more rows are done; see `rows_done`."""
        return None if self._observer is None else rows_done(self._observer, what, total)

    def size(self) -> int:
        """Bytes so far, without what will be dropped."""
        if self._path is None or not self._path.exists():
            return 0
        found = self._path.stat().st_size
        return found if self._keep is None else min(self._keep, found)

    def cut(self, size: int) -> None:
        """Drop what was written after the first `size` bytes."""
        if self._path is not None:
            with writing_to(self._path):
                self._path.touch()
                os.truncate(self._path, min(size, self._path.stat().st_size))
        self._keep = None


def rows_done(observer: Observer, what: str, total: int) -> Callable[[int], None]:
    """A callback for `evaluate` and `predict` that hands on how far they are.

    The events are {"event": "progress", "what": what, "done": rows, "total": total}. They are not
    part of a run's log.
    """
    done = 0

    def more(rows: int) -> None:
        nonlocal done
        done += rows
        observer({"event": "progress", "what": what, "done": done, "total": total})

    return more


def read_log(folder: Path) -> list[dict[str, Any]]:
    """A run's events; a last line that was cut off by a kill is left out."""
    path = folder / FILE
    if not path.exists():
        return []
    rows = []
    # By bytes: a text in an event may hold characters that end a line for `str.splitlines`.
    for line in path.read_bytes().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
