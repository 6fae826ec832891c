"""Texts' vectors as JSON: all at once, or a line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cuecard.types import Record

if TYPE_CHECKING:
    from torch import Tensor


def embedding_rows(records: Sequence[Record], vectors: Tensor) -> list[dict[str, object]]:
    """One mapping per record: its fields and its vector."""
    pairs = zip(records, vectors.tolist(), strict=True)
    return [{"fields": dict(record.texts), "embedding": row} for record, row in pairs]


def embedding_lines(records: Sequence[Record], vectors: Tensor) -> Iterator[str]:
    """The same, a line of JSON each."""
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in embedding_rows(records, vectors))
