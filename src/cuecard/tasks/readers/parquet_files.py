"""Parquet files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cuecard.errors import DataError
from cuecard.lazy import lazy_module
from cuecard.tasks.readers.tables import Table, Wanted, refuse_twice, require_columns

pyarrow = lazy_module("pyarrow")
parquet = lazy_module("pyarrow.parquet")


def read_parquet(path: Path, wanted: Wanted) -> Table:
    """The wanted columns of a Parquet file; a row's number is its place.

    Class numbers are turned into names where the file was written by `datasets` and knows them.

    Raises:
        DataError: a file that is not Parquet or is damaged, or a column missing or named twice.
    """
    try:
        schema = parquet.read_schema(path)
        refuse_twice(schema.names, str(path))
        require_columns(wanted.needed, schema.names, str(path))
        table = parquet.read_table(path, columns=list(wanted.needed))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            "the file cannot be read as Parquet",
            where=str(path),
            got=str(error).strip().split("\n")[0],
            expected="a whole Parquet file",
        ) from error
    return Table(
        str(path), tuple(table.column_names), enumerate(table.to_pylist(), 1), _names(schema)
    )


def _names(schema: Any) -> dict[str, list[str]]:
    """Column -> class names, from what `datasets` keeps in the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
