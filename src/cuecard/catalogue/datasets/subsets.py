"""A data set's rows, counted and written: one CSV file per subset."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from cuecard.catalogue.entries import DatasetEntry
from cuecard.errors import CatalogueError


def write_subsets(
    folder: Path, entry: DatasetEntry, rows: Mapping[str, Sequence[tuple[str, ...]]], source: Path
) -> None:
    """Write `<subset>.csv` for every subset: the entry's columns, then the label's.

    Args:
        rows: subset -> its rows, cells in the columns' order.
        source: what they were read from, for messages.

    Raises:
        CatalogueError: another number of rows than the entry says; nothing is written then.
    """
    counts = {subset: len(found) for subset, found in rows.items()}
    if counts != dict(entry.subsets):
        raise unexpected_rows(source, counts, dict(entry.subsets))
    for subset, found in rows.items():
        with (folder / f"{subset}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*entry.columns, entry.label_field])
            writer.writerows(found)


def unexpected_rows(source: Path, got: object, expected: object) -> CatalogueError:
    """The package holds something else than the catalogue knows of."""
    return CatalogueError(
        "the rows are not those that were published", where=source.name, got=got, expected=expected
    )
