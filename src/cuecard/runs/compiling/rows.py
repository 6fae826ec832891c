"""Rows of files as a task asks for them: inputs without labels, and labelled rows to score with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError, TemplateError
from cuecard.names import data_source
from cuecard.tasks import TaskSpec, read_records
from cuecard.tasks.readers.plain_lines import is_plain, read_lines
from cuecard.tasks.similar import nearest
from cuecard.tasks.task import text_columns
from cuecard.tasks.template import Template, escape
from cuecard.types import Record


def unlabelled_rows(
    place: str,
    spec: TaskSpec,
    *,
    text_field: str | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """Inputs: lines of text for a template with one field, or the template's columns.

    Raises:
        ConfigError: lines for a template with several fields, or a text column for none.
        DataError: they cannot be used.
    """
    source, fields = data_source(place, progress), spec.record_fields
    if is_plain(Path(source)):
        if len(fields) != 1:
            raise ConfigError(
                "lines of text are one field, and the template has several",
                where="inputs",
                got=", ".join(fields),
                expected="a file with these columns, such as .csv or .jsonl",
            )
        return read_lines(source, fields[0], limit=limit)
    columns = _columns(spec, text_field)
    return read_records(
        source,
        fields=fields,
        target_field=None,
        limit=limit,
        columns=columns,
        readers=spec.readers(None, columns),
        optional=spec.allow_empty,
    )


def labelled_rows_of(
    place: str,
    spec: TaskSpec,
    *,
    text_field: str | None = None,
    label_field: str | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """Rows with targets.

    Raises:
        ConfigError: a text column for a template without one.
        DataError: they cannot be used.
    """
    columns, target = _columns(spec, text_field), label_field or spec.target_field
    return read_records(
        data_source(place, progress),
        fields=spec.record_fields,
        target_field=target,
        columns=columns,
        readers=spec.readers(target, columns),
        optional=spec.allow_empty,
    )


def _columns(spec: TaskSpec, text_field: str | None) -> dict[str, str]:
    """Which column the template's only field, or {text}, is read from.

    Raises:
        ConfigError: a column for a template with neither.
    """
    fields = spec.field_names
    if text_field is not None and len(fields) == 1:
        return {fields[0]: text_field}
    return text_columns(fields, text_field)


def text_and_template(place: str, content: str, gap: str) -> tuple[str, str]:
    """What of a template comes before its gap, and the rest with {prompt} in its place.

    Args:
        place: the template's file.
        gap: the name of its only gap, which is {text} then.

    Raises:
        ConfigError: no such gap, or another one.
    """
    expected = f"{{{gap}}} once, and no other gap; braces of the text itself are doubled"
    try:
        pieces = Template(content).pieces
    except TemplateError as error:
        raise ConfigError(error.what, where=place, got=error.got, expected=expected) from error
    gaps = [piece.text for piece in pieces if piece.is_field]
    if gaps != [gap]:
        got = ", ".join(f"{{{each}}}" for each in gaps)
        raise ConfigError(
            "these are not the gaps of a text with one input",
            where=place,
            got=got,
            expected=expected,
        )
    at = next(number for number, piece in enumerate(pieces) if piece.is_field)
    before = "".join(piece.text for piece in pieces[:at])
    after = "".join(piece.text for piece in pieces[at + 1 :])
    text = before.rstrip()
    return text, f"{{prompt}}{escape(before[len(text) :])}{{text}}{escape(after)}"


def files_by_name(
    given: Sequence[str], names: Iterable[str], flag: str, what: str
) -> dict[str, str]:
    """Name -> its file: its own, or the one for all.

    Args:
        given: FILE or NAME=FILE.
        flag: by which they were given.
        what: has the names, in a word.

    Raises:
        ConfigError: two files for one name, or a name that there is not.
    """
    names = [*names]
    own: dict[str, str] = {}
    shared: list[str] = []
    for text in given:
        name, equals, file = text.partition("=")
        if equals and name not in names and not Path(text).exists():
            raise ConfigError(
                f"there is no {what} of this name",
                where=flag,
                got=text,
                expected=f"FILE, or NAME=FILE with one of the names {', '.join(names)}",
                hint=nearest(name, names),
            )
        if not (equals and name in names):
            shared.append(text)
        elif own.setdefault(name, file) != file:
            shared += [own[name], file]
    if len(shared) > 1:
        raise ConfigError(
            f"several files for one {what}",
            where=flag,
            got=", ".join(shared),
            expected=f"one file for all {what}s, and NAME=FILE for those with another one",
        )
    every = dict.fromkeys(names, shared[0]) if shared else {}
    return {**every, **own}
