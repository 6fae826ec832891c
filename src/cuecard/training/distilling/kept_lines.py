"""What a compilation keeps in its folder as it goes, for a later sitting to go on with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.errors import TrainingError
from cuecard.plain_files import write_text


@dataclass(frozen=True)
class KeptLines:
    """A file of JSON lines, the first of which says whose the others are.

    Args:
        folder: the run's; None keeps none.
        file: the file's name.
        first: the first line.
    """

    folder: Path | None
    file: str
    first: object

    def fits(self, folder: Path, what: str, got: str) -> None:
        """
        Raises:
            TrainingError: the folder holds another run's.
        """
        found = _read(folder / self.file)
        if found and found[0] != self.first:
            raise TrainingError(
                f"the folder holds the {what} of another run",
                where=str(folder / self.file),
                got=got,
                expected="a folder of its own, or --overwrite",
            )

    def load(self) -> list[Any]:
        """The lines after the first; none of another run's."""
        found = [] if self.folder is None else _read(self.folder / self.file)
        return found[1:] if found and found[0] == self.first else []

    def save(self, lines: Iterable[object]) -> None:
        """Leave these in the folder, in place of those that it has."""
        if self.folder is not None:
            every = (self.first, *lines)
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in every)
            write_text(text, self.folder / self.file)


def _read(path: Path) -> list[Any]:
    """A file of JSON lines; nothing where it is missing or damaged."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError):
        return []
