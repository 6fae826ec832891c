"""What was sent of a run already: `tracking.json` in its folder.

A run that is resumed, or sent again from its log, adds nothing twice. It is written after what it
says was sent: a process that is killed in between sends the same numbers again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cuecard.errors import DataError
from cuecard.plain_files import parse_json, read_bytes, write_text

FILE = "tracking.json"
_MOST_BYTES = 64 * 2**20


@dataclass
class Sent:
    """What was sent of one part of a run.

    Attributes:
        id: what the tracker finds it by; empty for none.
        settings: whether its settings were sent.
        steps: each curve's last step.
    """

    id: str = ""
    settings: bool = False
    steps: dict[str, int] = field(default_factory=dict)


def read_sent(folder: Path, tracker: str, place: str) -> dict[str, Sent]:
    """What a tracker was sent, by the part of the run; nothing where it went elsewhere.

    Raises:
        DataError: the file was changed into something else.
    """
    entry = _read(folder).get(tracker, {})
    if entry.get("place") != place:
        return {}
    try:
        return {run: Sent(**values) for run, values in entry["runs"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise _broken(folder, str(error)) from error


def write_sent(folder: Path, tracker: str, place: str, runs: dict[str, Sent]) -> None:
    """
    Raises:
        FileError: it cannot be written.
    """
    entry = {"place": place, "runs": {run: asdict(sent) for run, sent in runs.items()}}
    text = json.dumps({**_read(folder), tracker: entry}, ensure_ascii=False)
    write_text(f"{text}\n", folder / FILE)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    if not path.exists():
        return {}
    found = parse_json(read_bytes(path, _MOST_BYTES, "run", DataError), str(path), DataError)
    if not all(isinstance(entry, dict) for entry in found.values()):
        raise _broken(folder, "an entry that is no mapping")
    return found


def _broken(folder: Path, got: str) -> DataError:
    return DataError(
        "the file with what was sent to trackers cannot be used",
        where=str(folder / FILE),
        got=got,
        expected="the file as cuecard wrote it",
        hint="remove it to send everything again",
    )
