"""The run's log: one JSON object per line, and the only truth about the run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cuecard.plain_files import writing_to

Observer = Callable[[dict[str, Any]], None]

FILE = "log.jsonl"


class RunLog:
    """Append events to `log.jsonl` and hand them to an observer.

    Args:
        folder: the run's folder; None keeps no file.
        keep_bytes: how much of an earlier log stands; the rest was written after the checkpoint
            that the run goes on from.
    """

    def __init__(
        self, folder: Path | None, observer: Observer | None = None, keep_bytes: int = 0
    ) -> None:
        self._path = None if folder is None else folder / FILE
        self._observer = observer
        if self._path is not None:
            with writing_to(self._path):
                self._path.touch()
                os.truncate(self._path, min(keep_bytes, self._path.stat().st_size))

    def write(self, event: str, **values: Any) -> None:
        """Append one event; it is on disk, whole, when this returns.

        Raises:
            FileError: the log cannot be written.
        """
        row = {"event": event, **values}
        if self._path is not None:
            line = json.dumps(row, ensure_ascii=False) + "\n"
            with writing_to(self._path), self._path.open("ab") as file:
                file.write(line.encode("utf-8", "backslashreplace"))
        if self._observer is not None:
            self._observer(row)

    def size(self) -> int:
        """Bytes so far."""
        return 0 if self._path is None else self._path.stat().st_size


def read_log(folder: Path) -> list[dict[str, Any]]:
    """A run's events; a last line that was cut off by a kill is left out."""
    path = folder / FILE
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
