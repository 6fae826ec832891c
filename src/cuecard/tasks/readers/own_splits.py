"""A source's rows by split, and those of the splits that have sources of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cuecard.errors import ConfigError
from cuecard.tasks.readers.in_memory import source_name
from cuecard.tasks.readers.records import Source, wanted_records, wanted_splits
from cuecard.tasks.readers.tables import Wanted
from cuecard.types import Record, Split


def read_own_splits(
    source: Source,
    own: Mapping[Split, Source | None],
    split_field: str | None,
    wanted: Wanted,
) -> dict[Split, list[Record]]:
    """What the source holds for each split, and what the splits' own sources hold.

    Raises:
        ConfigError: two sources for one split, or one for two.
        DataError: as `read_splits`.
    """
    given = wanted_splits(source, wanted, split_field)
    for name, other in own.items():
        if other is None:
            continue
        if name in given:
            raise ConfigError(
                f"there are two {name} sets",
                where=name,
                got=source_name(other),
                expected=f"rows of its own or a part of {source_name(source)}, not both",
            )
        if _same(other, source):
            raise ConfigError(
                f"the {name} rows are read from the file of the training rows",
                where=name,
                got=source_name(other),
                expected="another file; without one, rows of the training file are set aside",
            )
        given[name] = wanted_records(other, wanted)
    return given


def _same(one: Source, other: Source) -> bool:
    if not isinstance(one, str | Path) or not isinstance(other, str | Path):
        return one is other
    return Path(one).is_file() and Path(other).is_file() and Path(one).samefile(other)
