"""What the command line's tests share: what a command left, and files for it to read."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tiny import tiny_model, tiny_tokenizer


@dataclass(frozen=True)
class Done:
    """What a command left on its way out."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object that it printed."""
        (line,) = self.out.splitlines()
        return json.loads(line)


Call = Callable[..., Done]


def save_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """A CSV file with a column per key."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def save_tiny(folder: Path, seed: int = 0) -> Path:
    """A tiny backbone in the hub's layout."""
    tiny_model(seed=seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def ended(child: subprocess.Popen[str], seconds: float = 300) -> str:
    """What a process that is about to end has left on standard error.

    One that does not end tells where each of its threads is: give it PYTHONFAULTHANDLER.
    """
    try:
        _, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGABRT)
        _, errors = child.communicate(timeout=60)
        pytest.fail(f"the process did not end:\n{errors}")
    return errors
