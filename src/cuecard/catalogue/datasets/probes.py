"""A table of the sae-probes package -> a CSV file, with the entry's columns and labels."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

from cuecard.catalogue.datasets.subsets import unexpected_rows, write_subsets
from cuecard.catalogue.entries import DatasetEntry
from cuecard.catalogue.progress import Progress

_TEXT, _LABEL = "prompt", "target"
_BETWEEN = " | "  # the two texts of a pair


def convert_probes(
    table: Path, folder: Path, entry: DatasetEntry, progress: Progress, label: str
) -> None:
    """Write the entry's one subset.

    Args:
        table: gzipped CSV with the columns prompt and target; pairs stand in one prompt with a bar
            between them.
        folder: an existing, empty folder.
        entry: its subset, columns and labels.
        progress: called at the end with the rows.
        label: what to call the work there.

    Raises:
        CatalogueError: a row, a label or a number of rows that should not be there.
    """
    (subset,) = entry.subsets
    rows: list[tuple[str, ...]] = []
    with gzip.open(table, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        names = list(reader.fieldnames or ())
        if not {_TEXT, _LABEL} <= set(names):
            raise unexpected_rows(table, names, f"the columns {_TEXT} and {_LABEL}")
        for found in reader:
            name = entry.published.get(found[_LABEL], found[_LABEL])
            texts = found[_TEXT].split(_BETWEEN) if len(entry.columns) > 1 else [found[_TEXT]]
            if name not in entry.labels or len(texts) != len(entry.columns):
                got = f"{found[_LABEL]!r}, {len(texts)} text(s), line {reader.line_num}"
                raise unexpected_rows(table, got, f"{entry.labels}, {len(entry.columns)} text(s)")
            rows.append((*(text.strip() for text in texts), name))
    write_subsets(folder, entry, {subset: rows}, table)
    progress(label, len(rows), len(rows))
