"""Plain text, one record per line."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from cuecard.errors import DataError
from cuecard.tasks.tables import Table, Wanted, records
from cuecard.tasks.text_files import decode, read_text
from cuecard.types import Record

STDIN = "-"
_SUFFIXES = ("", ".txt")


def is_plain(path: Path) -> bool:
    """Whether a path is read line by line: a file or a pipe that ends in .txt or in nothing."""
    return path.suffix.lower() in _SUFFIXES and path.exists() and not path.is_dir()
