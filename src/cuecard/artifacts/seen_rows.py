"""Hashes of the rows that a prompt was trained and selected on, to warn when it is scored on them.

Six bytes of the SHA-256 of a row's near form (`cuecard.tasks.groups.near_copy`), sorted, each once,
as base64: eight characters a row in `prompt.json`. A file of 10,000 rows holds one by chance of a
prompt that knows 10,000 with a probability of 4e-7. The texts cannot be recovered, but anyone who
has a text can test whether it was among them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, field_validator

from cuecard.artifacts.sealed import StrictModel
from cuecard.tasks.groups import near_copy
from cuecard.types import Record

BYTES = 6
MAX_ROWS = 1 << 15
"""Of more rows the smallest hashes are kept, an even sample: 256 KiB of `prompt.json`."""

Digests = Annotated[str, Field(max_length=MAX_ROWS * 8, pattern=r"^[A-Za-z0-9+/]*$")]


class RowsEntry(StrictModel):
    """Hashes of the rows.

    Attributes:
        trained, selected: of the training rows, and of the validation rows on which the step, the
            prior and whatever else was chosen.
        trained_rows, selected_rows: how many different ones there were.
    """

    trained: Digests
    selected: Digests
    trained_rows: int = Field(ge=0)
    selected_rows: int = Field(ge=0)

    @field_validator("trained", "selected")
    @classmethod
    def _sorted(cls, value: str) -> str:
        found = _unpacked(value)
        if found != sorted(set(found)):
            raise ValueError("row hashes are not sorted, each once")
        return value

    @classmethod
    def of(cls, train: Sequence[Record], validation: Sequence[Record]) -> RowsEntry:
        """The entry of a training's rows."""
        trained, selected = ({row_hash(record) for record in rows} for rows in (train, validation))
        return cls(
            trained=_packed(trained),
            selected=_packed(selected),
            trained_rows=len(trained),
            selected_rows=len(selected),
        )


@dataclass(frozen=True, slots=True)
class SeenRows:
    """The rows of a file that a prompt has seen.

    Attributes:
        trained, selected: the numbers of the rows that it was trained or selected on, from 0.
        rows: how many rows there are.
    """

    trained: tuple[int, ...]
    selected: tuple[int, ...]
    rows: int

    @property
    def unseen(self) -> list[int]:
        """The numbers of the other rows."""
        seen = {*self.trained, *self.selected}
        return [index for index in range(self.rows) if index not in seen]

    def __bool__(self) -> bool:
        return bool(self.trained or self.selected)

    def sentence(self, prompt: str) -> str:
        """A warning about them."""
        counts = {"trained": len(self.trained), "selected": len(self.selected)}
        parts = [f"{how} on {count:,}" for how, count in counts.items() if count]
        return (
            f"{prompt} was {' and '.join(parts)} of these {self.rows:,} rows (or near-copies of "
            "them); its score on them says little about new rows"
        )


def row_hash(record: Record) -> bytes:
    """Of its texts alone: near-copies have the same, whatever their targets."""
    return hashlib.sha256(near_copy(record).encode()).digest()[:BYTES]


def seen_rows(entry: RowsEntry | None, records: Sequence[Record]) -> SeenRows:
    """Which of the records a prompt was trained or selected on; none where it does not know."""
    if entry is None:
        return SeenRows((), (), len(records))
    hashes = [row_hash(record) for record in records]
    trained, selected = (frozenset(_unpacked(text)) for text in (entry.trained, entry.selected))
    return SeenRows(
        tuple(i for i, found in enumerate(hashes) if found in trained),
        tuple(i for i, found in enumerate(hashes) if found in selected),
        len(records),
    )


def _packed(hashes: set[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(hashes)[:MAX_ROWS])).decode("ascii")


def _unpacked(text: str) -> list[bytes]:
    try:
        found = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("row hashes are not base64") from error
    if len(found) % BYTES:
        raise ValueError(f"row hashes are not of {BYTES} bytes each")
    return [found[start : start + BYTES] for start in range(0, len(found), BYTES)]
