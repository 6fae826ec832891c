"""Rows that a program holds: mappings, data frames, sets of the `datasets` library.

None of these libraries is imported: what has their methods is taken for one of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cuecard.errors import DataError
from cuecard.lazy import np
from cuecard.tasks.readers.dataset_sets import set_table
from cuecard.tasks.readers.tables import Row, Table, Wanted, refuse_twice


@runtime_checkable
class DatasetLike(Protocol):
    """`datasets.Dataset`, which knows the names of class numbers and the files of images."""

    features: Any
    column_names: Any
    num_rows: Any

    def with_format(self, *given: Any) -> Any: ...

    def select_columns(self, column_names: Any) -> Any: ...


@runtime_checkable
class StreamLike(Protocol):
    """`datasets.IterableDataset`, whose features are None where nobody has told them."""

    features: Any
    column_names: Any

    def take(self, n: int) -> Any: ...

    def select_columns(self, column_names: Any) -> Any: ...


@runtime_checkable
class PandasLike(Protocol):
    """`pandas.DataFrame`."""

    columns: Any

    def itertuples(self, index: bool = True, name: str | None = "Pandas") -> Iterable[Any]: ...

    def notna(self) -> Any: ...


@runtime_checkable
class PolarsLike(Protocol):
    """`polars.DataFrame`."""

    columns: Any

    def iter_rows(self, *, named: bool = False) -> Iterable[Any]: ...


@runtime_checkable
class ArrowLike(Protocol):
    """`pyarrow.Table` and `pyarrow.RecordBatch`."""

    column_names: Any

    def to_pylist(self) -> list[Any]: ...


FrameLike = DatasetLike | PandasLike | PolarsLike | ArrowLike
RowsInMemory = FrameLike | Iterable[Mapping[str, Any]]


def frame_columns(data: object) -> tuple[str, ...] | None:
    """The columns' names of a frame or a set; None for anything else."""
    if not isinstance(data, FrameLike):
        return None
    return tuple(map(str, data.columns if hasattr(data, "columns") else data.column_names))


def source_name(source: object) -> str:
    """What messages call a source of rows."""
    return str(source) if isinstance(source, str | Path) else f"the {type(source).__name__}"


def rows_table(data: object, wanted: Wanted, name: str = "") -> Table:
    """Rows as a table that counts them from 1.

    Args:
        name: what messages call them; by default what they are.

    Raises:
        DataError: no rows, a column missing or named twice; when it is read, a row that is no
            mapping.
    """
    name = name or source_name(data)
    for form, read in _FORMS:
        if isinstance(data, form):
            return read(data, name, wanted)
    if isinstance(data, str | bytes | Path | Mapping) or not isinstance(data, Iterable):
        raise not_a_row(data, name, "a list of rows, a data frame or a set of `datasets`")
    return Table(name, None, _mappings(data, name))


def _mappings(rows: Iterable[Any], name: str) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise not_a_row(row, f"{name}, row {number}", "a mapping from columns to values")
        yield number, {column: plain(value) for column, value in row.items()}


def plain(value: Any) -> Any:
    """A cell without numpy's types: numbers and lists as Python's. Arrays of bytes stay images."""
    if isinstance(value, np.generic) or (
        isinstance(value, np.ndarray) and not (value.dtype == np.uint8 and value.ndim > 1)
    ):
        return value.tolist()
    return value


def not_a_row(given: object, where: str, expected: str) -> DataError:
    """What is no row where one is expected."""
    return DataError(
        "not a row",
        where=where,
        got=type(given).__name__,
        expected=expected,
        hint='a row is a mapping such as {"text": "a gob of drivel"}',
    )


def _of_stream(stream: Any, source: str, wanted: Wanted) -> Table:
    if stream.features is None:
        return Table(source, None, _mappings(stream, source))
    return set_table(stream, source, wanted)


def _of_pandas(frame: Any, source: str, wanted: Wanted) -> Table:
    columns = tuple(str(name) for name in frame.columns)
    refuse_twice(columns, source)
    read = [n for n, name in enumerate(columns) if name in wanted.needed]
    chosen = frame.iloc[:, read]
    # Of missing values pandas has four, and one of them is a number.
    chosen = chosen.astype(object).where(chosen.notna(), None)
    rows = _named([columns[n] for n in read], chosen.itertuples(index=False, name=None))
    return Table(source, columns, rows)


def _of_polars(frame: Any, source: str, wanted: Wanted) -> Table:
    columns = tuple(frame.columns)
    return Table(source, columns, _named(columns, frame.iter_rows()))


def _of_arrow(table: Any, source: str, wanted: Wanted) -> Table:
    columns = tuple(table.column_names)
    refuse_twice(columns, source)
    read = [name for name in columns if name in wanted.needed]
    return Table(source, columns, enumerate(table.select(read).to_pylist(), 1))


def _named(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        yield number, dict(zip(columns, map(plain, row), strict=True))


_FORMS: tuple[tuple[type, Callable[[Any, str, Wanted], Table]], ...] = (
    (DatasetLike, set_table),
    (StreamLike, _of_stream),
    (PandasLike, _of_pandas),
    (PolarsLike, _of_polars),
    (ArrowLike, _of_arrow),
)
