"""A command's rows: labelled ones to score, or texts to answer."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cuecard.errors import ConfigError, DataError, DataWarning
from cuecard.evaluation.advice import FEW_TEST_ROWS
from cuecard.tasks import TaskSpec, read_records
from cuecard.tasks.readers.columns import OPTIONS, options_column
from cuecard.tasks.readers.plain_lines import STDIN, is_plain, read_lines
from cuecard.tasks.readers.tables import record_place
from cuecard.tasks.similar import nearest
from cuecard.types import Image, Record, Value
from cuecard.validation_text import counted, first_of

_NAMED = 5


def columns_for(fields: Sequence[str], text_field: str | None) -> dict[str, str]:
    """Which field is read from the text column: the only one, or the one called text.

    Raises:
        ConfigError: several fields and none of them called text.
    """
    if text_field is None:
        return {}
    if len(fields) == 1:
        return {fields[0]: text_field}
    for name in ("image", "text"):
        if name in fields:
            return {name: text_field}
    raise ConfigError(
        "a text column is given, but the template has no {text}",
        where="--text-field",
        got=text_field,
        expected=f"no --text-field: the template reads the columns {', '.join(fields)}",
    )


def labelled_rows(
    spec: TaskSpec,
    source: str | Path,
    *,
    text_field: str | None,
    label_field: str | None,
    split: str | None,
    limit: int | None,
) -> list[Record]:
    """The rows of a source, with their targets, as a task asks for them.

    Raises:
        DataError: a source or a row that cannot be used.
        ConfigError: a text column that no field is read from.
    """
    target = label_field or spec.target_field
    columns = columns_for(spec.field_names, text_field)
    return read_records(
        source,
        fields=spec.record_fields,
        target_field=target,
        split=split,
        limit=limit,
        columns=columns,
        readers=spec.readers(target, columns),
        optional=spec.allow_empty,
    )


def typed_rows(spec: TaskSpec, texts: Sequence[str], given: dict[str, str]) -> list[Record]:
    """Records of texts typed as arguments, and of fields given by name, the same for each text.

    Raises:
        ConfigError: fields that are unknown, missing, or too many for the texts.
        DataError: an empty text.
    """
    given = {**_unasked(spec, given), **given}
    texts = spec.task_kind.inputs(texts)
    left = open_fields(spec, given)
    if texts and len(left) != 1:
        raise ConfigError(
            "a text needs exactly one open field",
            where="TEXT",
            got=f"{counted(len(texts), 'text')} for {', '.join(left) or 'no field'}",
            expected="one field that no --field gives",
            hint=f"the fields are {', '.join(spec.record_fields)}",
        )
    if not texts and left:
        raise ConfigError(
            "there is nothing to answer",
            where="cuecard predict",
            got="no text",
            expected=f"a text, a --file, or --field {left[0]}=...",
        )
    typed = {name: _typed(spec, name, text, f"--field {name}") for name, text in given.items()}
    values = [_typed(spec, left[0], text, f"input {n}") for n, text in enumerate(texts, 1)]
    records = [
        Record({**typed, left[0]: value}, None, text if isinstance(value, Image) else "")
        for text, value in zip(texts, values, strict=True)
    ]
    records = records or [Record(typed, None)]
    for number, record in enumerate(records, 1):
        for name, text in record.texts.items():
            if not text.strip() and name not in spec.allow_empty:
                raise DataError(
                    "the text is empty", where=f"text {number}, field {name!r}", got="''"
                )
    return records


def known_rows(
    spec: TaskSpec, records: list[Record], asked: bool = False
) -> tuple[list[Record], dict[str, int]]:
    """The rows whose labels the task has, and the other labels with how many rows have them.

    Warns of the rows that are left out.

    Args:
        asked: whether the task's labels are those asked for, not those of the training.

    Raises:
        DataError: no row is left.
    """
    if not spec.labels:
        return records, {}
    unknown: Counter[str] = Counter()
    known = []
    for record in records:
        labels = {*spec.task_kind.labels_of(spec, record.target or "")} - {*spec.labels}
        unknown.update(labels)
        if not labels:
            known.append(record)
    if not unknown:
        return records, {}
    other = f"that the prompt {'is not asked for' if asked else 'was not trained for'}"
    told = [f"{label!r} ({count:,})" for label, count in unknown.most_common()]
    listed = first_of(told, _NAMED)
    if not known:
        others = f" and {len(records) - 1:,} more rows" if len(records) > 1 else ""
        raise DataError(
            f"every row has a label {other}",
            where=f"{record_place(records[0])}{others}",
            got=listed,
            expected=f"labels among {first_of([*map(repr, spec.labels)], _NAMED)}",
            hint="labels have to be spelt alike; --label-field names another column",
        )
    warnings.warn(
        DataWarning(
            f"{len(records) - len(known):,} of {len(records):,} rows have labels {other} "
            f"and are not scored: {listed}"
        ),
        stacklevel=2,
    )
    return known, dict(unknown.most_common())


def warn_of_few(rows: int) -> None:
    """Warn where so few rows are scored that their interval is wide."""
    if 0 < rows < FEW_TEST_ROWS:
        warnings.warn(
            DataWarning(f"only {counted(rows, 'row')} to score: mind the width of the intervals"),
            stacklevel=2,
        )


def file_rows(
    spec: TaskSpec,
    source: str,
    given: dict[str, str],
    *,
    text_field: str | None,
    split: str | None,
    limit: int | None,
) -> list[Record]:
    """Records of a data file, or of a plain one with a text per line; fields by name beside it.

    Raises:
        DataError: a file or a row that cannot be used.
        ConfigError: fields that are unknown, or too many for lines of text.
    """
    if source == STDIN or is_plain(Path(source)):
        given = {**_unasked(spec, given), **given}
    left = open_fields(spec, given)
    typed = {name: _typed(spec, name, text, f"--field {name}") for name, text in given.items()}
    if source == STDIN or is_plain(Path(source)):
        if len(left) != 1:
            raise ConfigError(
                "a line needs exactly one open field",
                where=source,
                got=f"the fields {', '.join(left) or '(none)'}",
                expected="one field that no --field gives",
                hint="use a CSV or JSON lines file with a column for each",
            )
        read = read_lines(source, left[0], limit=limit)
        found = [
            replace(r, fields={left[0]: _typed(spec, left[0], r.text(left[0]), f"row {r.row}")})
            for r in read
        ]
    else:
        columns = columns_for([name for name in left if name in spec.field_names], text_field)
        readers = spec.readers(None, columns)
        found = read_records(
            source,
            fields=left,
            target_field=None,
            split=split,
            limit=limit,
            columns=columns,
            readers={name: reader for name, reader in readers.items() if name in left},
            optional=spec.allow_empty,
        )
    return [Record({**r.fields, **typed}, r.target, r.source, r.row) for r in found]


def _unasked(spec: TaskSpec, given: dict[str, str]) -> dict[str, str]:
    """The fields that may be empty and were not given: they are empty."""
    return {name: "" for name in spec.allow_empty if name not in given}


def open_fields(spec: TaskSpec, given: dict[str, str]) -> tuple[str, ...]:
    """The template's fields that are not given by name.

    Raises:
        ConfigError: a name that is no field of the template.
    """
    for name in given:
        if name not in spec.record_fields:
            raise ConfigError(
                "the template has no such field",
                where="--field",
                got=name,
                expected=", ".join(spec.record_fields),
                hint=nearest(name, spec.record_fields),
            )
    return tuple(name for name in spec.record_fields if name not in given)


def _typed(spec: TaskSpec, name: str, text: str, where: str) -> Value:
    """A field's text as typed, in the form that records have it.

    Raises:
        DataError: no words to tag, or options that are no JSON list.
    """
    reader = spec.readers(None).get(name)
    if reader is None or not text.strip():
        return text
    if name == OPTIONS:
        reader = options_column(name)  # of one value, whatever columns a file has them in
    return reader.read(dict.fromkeys(reader.columns, text), {}, where)
