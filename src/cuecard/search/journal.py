"""Every call of a search: a line before it, a line after it.

A search that was stopped, even killed, reads its journal and goes on: calls that were answered are
not made again. Of a call that was cut off nobody knows whether it was paid for, so it counts with
all that was reserved for it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError, DataError
from cuecard.plain_files import writing_to
from cuecard.search.budget import Amount

FILE = "journal.jsonl"


@dataclass
class ModelSpent:
    """What a model took.

    Attributes:
        answered, failed: how many calls have ended so.
        open: how many have begun and not ended: they are under way, or were cut off.
        spent: by the calls that have ended, and reserved for the open ones.
    """

    answered: int = 0
    failed: int = 0
    open: int = 0
    spent: Amount = field(default_factory=Amount)

    def asked(self, reserved: Amount) -> None:
        """A call begins."""
        self.open, self.spent = self.open + 1, self.spent + reserved

    def ended(self, reserved: Amount, spent: Amount, *, failed: bool) -> None:
        """A call has ended."""
        self.open, self.spent = self.open - 1, self.spent - reserved + spent
        self.failed, self.answered = self.failed + failed, self.answered + (not failed)


def spent_by_model(path: Path) -> tuple[dict[str, ModelSpent], float]:
    """What each model took so far, and the seconds until the last call began.

    The journal may be in use: nothing is written, and what is not an entry is passed over.

    Raises:
        OSError: it cannot be read.
    """
    open_calls: dict[str, tuple[ModelSpent, Amount]] = {}
    models: dict[str, ModelSpent] = {}
    seconds = 0.0
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
            if "asked" in row:
                own, reserved = ModelSpent(), Amount.of(row["reserved"])
                own = models.setdefault(str(row["model"]), own)
                own.asked(reserved)
                open_calls[row["asked"]] = (own, reserved)
                seconds = max(seconds, float(row["seconds"]))
            elif (key := row.get("answered", row.get("failed"))) in open_calls:
                own, reserved = open_calls.pop(key)
                own.ended(reserved, Amount.of(row["spent"]), failed="failed" in row)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
    return models, seconds


class Journal:
    """The calls of a search, in `journal.jsonl`, which the first of them begins.

    So what is refused before it leaves the folder free for another search.

    Args:
        path: the file; None keeps nothing.
        about: what the search is: a journal of another one is refused.

    Attributes:
        answers: key -> what was answered.
        costs: key -> what that took.
        spent: all that was spent, and reserved for calls that were cut off.
        seconds: of earlier sittings.

    Raises:
        ConfigError: the journal of another search.
        DataError: a line in the middle that is no entry.
        FileError: it cannot be read or written.
    """

    def __init__(self, path: Path | None, about: str) -> None:
        self._path, self._about, self._begun = path, about, False
        self.answers: dict[str, Any] = {}
        self.costs: dict[str, Amount] = {}
        self.spent = Amount()
        self.seconds = 0.0
        if path is not None and path.exists():
            self._read(path, about)

    def asked(self, key: str, model: str, reserved: Amount, seconds: float) -> None:
        """A call begins.

        Args:
            key: of the model and all that it is asked.
            seconds: since the search began, over all sittings.
        """
        row = {"asked": key, "model": model, "reserved": asdict(reserved)}
        self._write({**row, "seconds": round(seconds, 3)})

    def answered(self, key: str, spent: Amount, answer: Any) -> None:
        """A call has ended. `answer` is anything that JSON holds."""
        self._write({"answered": key, "spent": asdict(spent), "answer": answer})
        self.answers[key], self.costs[key] = answer, spent

    def failed(self, key: str, spent: Amount, why: str) -> None:
        """A call has ended without an answer; it may be made again."""
        self._write({"failed": key, "spent": asdict(spent), "why": why})

    def _read(self, path: Path, about: str) -> None:
        with writing_to(path):
            content = path.read_bytes()
            # A line that was cut off in the middle was never on disk as a whole.
            whole = content.rfind(b"\n") + 1
            if whole != len(content):
                os.truncate(path, whole)
        open_calls: dict[str, Amount] = {}
        rows = content[:whole].splitlines()
        for number, line in enumerate(rows, 1):
            try:
                self._take(json.loads(line), open_calls)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise DataError(
                    "the journal has a line that is no entry",
                    where=f"{path}, line {number}",
                    got=line[:80].decode("utf-8", "replace"),
                    hint="start again in another folder, or take the line out",
                ) from error
        for reserved in open_calls.values():
            self.spent += reserved
        self._begun = bool(rows)
        if rows and json.loads(rows[0]).get("search") != about:
            raise ConfigError(
                "the folder holds the journal of another search",
                where=str(path),
                got="a search with other rows, another model or other settings",
                expected="those that it began with",
                hint="restore them, or search in another folder (--out)",
            )

    def _take(self, row: dict[str, Any], open_calls: dict[str, Amount]) -> None:
        if "asked" in row:
            key = row["asked"]
            if key in open_calls:  # asked again after it was cut off
                self.spent += open_calls[key]
            open_calls[key] = Amount.of(row["reserved"])
            self.seconds = max(self.seconds, float(row["seconds"]))
        elif "search" not in row:
            key = row["answered"] if "answered" in row else row["failed"]
            open_calls.pop(key, None)
            spent = Amount.of(row["spent"])
            self.spent += spent
            if "answered" in row:
                self.answers[key], self.costs[key] = row["answer"], spent

    def _write(self, row: dict[str, Any]) -> None:
        """Append a line; it is on disk, whole, when this returns."""
        if self._path is None:
            return
        new = [row] if self._begun else [{"search": self._about}, row]
        text = "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in new)
        with writing_to(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(text.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
        self._begun = True
