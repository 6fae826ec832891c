"""A task: what is asked, and the records it is learnt from and judged on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from cuecard.errors import ConfigError, DataError
from cuecard.tasks.groups import OFF, Grouping, choose_grouping, forget_forms
from cuecard.tasks.kinds import kind_named
from cuecard.tasks.labels import find_labels, warn_of_look_alikes, warn_of_untrained
from cuecard.tasks.readers.in_memory import source_name
from cuecard.tasks.readers.own_splits import read_own_splits
from cuecard.tasks.readers.records import Source
from cuecard.tasks.readers.tables import Wanted
from cuecard.tasks.settings import HeadName
from cuecard.tasks.spec import TaskSpec
from cuecard.tasks.splits import (
    SPLITS,
    Fractions,
    SplitReport,
    Splits,
    check_fractions,
    limit_held_out,
    limit_train,
    remove_duplicates,
    split_records,
)
from cuecard.types import Record, Split

__all__ = ["SpecOptions", "Task", "TaskSpec"]

FRACTIONS: Fractions = (0.8, 0.1, 0.1)
_SOME_ROWS = 10  # of which two should have the same label


class SpecOptions(TypedDict, total=False):
    """The settings of a TaskSpec that have a default."""

    chat: bool
    system: str | None
    words: Mapping[str, str] | None
    max_length: int
    normalize: Literal["none", "length"]
    max_new_tokens: int
    stop: str | None
    head: HeadName
    separator: str
    options_field: str
    subword: Literal["first", "last"]
    allow_empty: Sequence[str]
    mask_class: int | None


class DataOptions(SpecOptions, total=False):
    """The settings of `Task.from_data`, where they are described."""

    template: str | None
    labels: Sequence[str] | None
    text_field: str | None
    label_field: str | None
    validation: Source | None
    test: Source | None
    split_field: str | None
    group_field: str | None
    kind: str
    seed: int
    split: Fractions
    limit: int | None
    held_out_limit: int | None


@dataclass(frozen=True)
class Task:
    """What is asked of the model, and the records.

    Attributes:
        spec: the task without its data.
        train, validation, test: the records; no text of one is in another.
        report: what was done to get there.
    """

    spec: TaskSpec
    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]
    report: SplitReport

    @classmethod
    def from_data(
        cls,
        data: Source,
        *,
        template: str | None = None,
        labels: Sequence[str] | None = None,
        text_field: str | None = None,
        label_field: str | None = None,
        validation: Source | None = None,
        test: Source | None = None,
        split_field: str | None = None,
        group_field: str | None = None,
        kind: str = "classification",
        seed: int = 0,
        split: Fractions = FRACTIONS,
        limit: int | None = None,
        held_out_limit: int | None = None,
        **options: Unpack[SpecOptions],
    ) -> Task:
        """Read a task from labelled rows: `Task.from_data(frame, label_field="team")`.

        Args:
            data: a pandas or polars DataFrame, an Arrow table, a `datasets.Dataset`, or a list of
                mappings from columns to values; these by the name of their split, such as a
                `DatasetDict`; or a file, a folder or a hub name, see `read_records`. Rows in
                memory are counted from 1 in messages.
            template: the context; by default that of the kind.
            labels: the labels in order; by default those of the training data, sorted.
            text_field: the column that the template's `{text}` is read from; "text" by default.
            label_field: the column of the target; by default that of the kind, which for most is
                "label". For multi-label also columns of 0 and 1, named after the
                labels and separated by commas.
            validation, test: rows of their own for these; what is not given is cut from `data`.
            split_field: the column that says which split a row belongs to.
            group_field: the column of what rows must not be split by, such as a question, a
                document or a person: rows with the same value stay in one split. By default the
                template's fields whose texts repeat, see `choose_grouping`; "none" for no groups.
            kind: the name of one of `KINDS`.
            seed: what the split and the limit depend on, besides the rows' content; not the seed of
                a training.
            split: the parts of train, validation and test where they are cut.
            limit: keep at most so many training rows, chosen by content hash.
            held_out_limit: keep at most so many validation rows, and as many test rows.
            options: more settings of the TaskSpec.

        Raises:
            DataError: the data cannot be used; with the row where there is one.
            ConfigError: the settings cannot be used.
        """
        task_kind = kind_named(kind)
        text = template if template is not None else task_kind.template
        label_field = label_field or task_kind.target_field
        words = options.pop("words", None)
        # What reads the rows does not depend on the labels, which may have to be read first.
        some = tuple(labels or ("?", "??")) if task_kind.labelled else tuple(labels or ())
        asked = {"kind": kind, "template": text, "target_field": label_field, **options}
        spec = TaskSpec.parse({**asked, "labels": some, "words": {}})
        fields = spec.record_fields
        columns = text_columns(spec.field_names, text_field)
        _must_not_read_targets(spec, columns, label_field)
        readers = spec.readers(label_field, columns)
        group = None if group_field in (None, OFF) else columns.get(group_field, group_field)
        wanted = Wanted(fields, label_field, columns, readers, spec.allow_empty, group)
        given = read_own_splits(data, {"validation": validation, "test": test}, split_field, wanted)
        if task_kind.labelled and labels is None:
            several = task_kind.target_columns(label_field)
            labels = (
                several
                if len(several) > 1
                else find_labels(given["train"], source_name(data), spec)
            )
        spec = TaskSpec.parse({**asked, "labels": tuple(labels or ()), "words": dict(words or {})})
        return cls.from_records(
            spec,
            given,
            seed=seed,
            split=split,
            limit=limit,
            held_out_limit=held_out_limit,
            group_field=group_field,
        )

    @classmethod
    def from_file(cls, path: str | Path, **settings: Unpack[DataOptions]) -> Task:
        """Read a task from a file, a folder or a data set on the hub; see `from_data`."""
        return cls.from_data(path, **settings)

    @classmethod
    def from_records(
        cls,
        spec: TaskSpec,
        records: Sequence[Record] | Mapping[Split, Sequence[Record]],
        *,
        seed: int = 0,
        split: Fractions = FRACTIONS,
        limit: int | None = None,
        held_out_limit: int | None = None,
        group_field: str | None = None,
    ) -> Task:
        """A task from records in memory.

        Args:
            spec: what is asked.
            records: all records, or records by split. Validation and test are cut from the
                training records by content hash where they are not given.
            seed, split, limit, held_out_limit: as in `from_data`.
            group_field: as in `from_data`, for records that have no `group` of their own.

        Raises:
            DataError: a record without a target, a label that is not in the list, no rows left.
            TemplateError: a record without a field the template needs.
        """
        check_fractions(split)
        given: Mapping[Split, Sequence[Record]] = (
            records if isinstance(records, Mapping) else {"train": records}
        )
        for rows in given.values():
            check_records(spec, rows)
        given, grouping = _grouped(given, group_field)
        cut, made = _cut_missing(given, split, seed, grouping.fields)
        text_of = spec.target_text
        parts = cut.train, cut.validation, cut.test
        splits, report = remove_duplicates(*parts, made, grouping, text_of)
        forget_forms()
        if limit is not None:
            splits, report = limit_train(splits, report, limit, seed, text_of)
        if held_out_limit is not None:
            splits, report = limit_held_out(splits, report, held_out_limit, seed, text_of)
        # What is hashed is a target's text as it was given.
        splits = Splits(*(tuple(map(spec.with_value, part)) for _, part in splits.items()))
        warn_of_untrained(spec, splits, limit)
        warn_of_look_alikes(spec.labels)
        for name, part in zip(SPLITS, split, strict=True):
            if report.rows[name] == 0 and (name == "train" or name in given or part > 0):
                raise DataError(
                    f"no rows are left for {name}",
                    where=f"split {', '.join(f'{part:g}' for part in split)}",
                    got=", ".join(f"{rows} {other}" for other, rows in report.rows.items()),
                    expected="rows in every split",
                    hint=_more_rows(spec, report),
                )
        if decided := spec.task_kind.fitted(spec, splits.train):
            spec = spec.model_copy(update=decided)
        return cls(spec, splits.train, splits.validation, splits.test, report)


def _grouped(
    given: Mapping[Split, Sequence[Record]], group_field: str | None
) -> tuple[Mapping[Split, Sequence[Record]], Grouping]:
    """The records with their groups, and the fields that keep them together besides."""
    if group_field == OFF:
        bare = {k: [replace(record, group="") for record in rows] for k, rows in given.items()}
        return bare, Grouping()
    if group_field is None:
        every = [record for rows in given.values() for record in rows]
        if any(record.group for record in every):
            return given, Grouping()
        return given, choose_grouping(every)
    found = {k: [_with_group(record, group_field) for record in rows] for k, rows in given.items()}
    return found, Grouping((), f"rows with the same {group_field!r} stay in one split")


def _with_group(record: Record, field: str) -> Record:
    if record.group or field not in record.fields:
        return record
    return replace(record, group=record.text(field))


def check_records(spec: TaskSpec, records: Iterable[Record]) -> None:
    """Raise where a record lacks a field or a target, or has a label that is not in the list."""
    template = spec.parsed
    for record in records:
        template.check(record.fields)
        spec.task_kind.check_target(spec, record)


def _must_not_read_targets(spec: TaskSpec, columns: Mapping[str, str], label_field: str) -> None:
    """Refuse a template that shows the model the answer.

    Texts may be asked to be repeated, as in copying and autoencoding; other targets may not.

    Raises:
        ConfigError: the template reads the target's column.
    """
    targets = spec.task_kind.target_columns(label_field)
    shown = [f for f in spec.field_names if columns.get(f, f) in targets]
    if not shown or spec.task_kind.target_may_be_shown:
        return
    raise ConfigError(
        "the template shows the answer",
        where="template",
        got=f"{{{shown[0]}}} in {spec.template!r}",
        expected=f"no column that holds the answer: {', '.join(targets)}",
        hint="leave it out of the template, or set label_field to the answer's column",
    )


def text_columns(fields: Sequence[str], text_field: str | None) -> dict[str, str]:
    """The field that is read from the column of the texts or images, with this column.

    Raises:
        ConfigError: a column, and no such field.
    """
    if text_field is None:
        return {}
    if "image" in fields:
        return {"image": text_field}
    if "text" not in fields:
        raise ConfigError(
            "a text column is given, but the template has no {text}",
            where="text_field",
            got=text_field,
            expected=f"no text_field: the template reads the columns {', '.join(fields)}",
        )
    return {"text": text_field}


def _cut_missing(
    given: Mapping[Split, Sequence[Record]],
    fractions: Fractions,
    seed: int,
    fields: Sequence[str],
) -> tuple[Splits, tuple[Split, ...]]:
    """Cut from the training records each split that is not given; also which ones those are."""
    missing = tuple(name for name in SPLITS if name not in given)
    parts = dict(zip(SPLITS, fractions, strict=True))
    total = sum(part for name, part in parts.items() if name == "train" or name in missing)
    if total <= 0:
        raise ConfigError(
            "the split leaves nothing for training", where="split", got=fractions, expected="some"
        )
    _, validation, test = (parts[name] / total if name in missing else 0.0 for name in SPLITS)
    rows = given.get("train", ())
    cut = split_records(rows, (1 - validation - test, validation, test), seed, fields)
    own = {name: tuple(given[name]) for name in SPLITS[1:] if name in given}
    return replace(cut, **own), missing


def _more_rows(spec: TaskSpec, report: SplitReport) -> str:
    """What may help where a split is left without rows."""
    if len(spec.labels) >= sum(report.rows.values()) >= _SOME_ROWS:
        return "no two rows have the same label: name the labels' column (--label-field)"
    return "give more rows, another split seed, or a file for each split"
