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

from cuecard.cli.main import main
from support.tiny import tiny_backbone, tiny_model


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


def run_in_process(capsys: pytest.CaptureFixture[str], *words: object) -> Done:
    """What a command leaves that is run as the shell does, but in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    seen = capsys.readouterr()
    code = exit_.value.code
    return Done(code if isinstance(code, int) else 0, seen.out, seen.err)


def save_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """A CSV file with a column per key."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def save_tiny(folder: Path, seed: int = 0, kind: str = "llama") -> Path:
    """A tiny backbone of any family in the hub's layout."""
    tiny_model(kind, seed).save_pretrained(folder)
    tiny_backbone(kind, seed).tokenizer.save_pretrained(folder)
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
