"""A task: what is asked, and the records it is learnt from and judged on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from cuecard.errors import ConfigError, DataError
from cuecard.tasks.readers import read_records, read_splits
from cuecard.tasks.spec import Kind, TaskSpec, unknown_label
from cuecard.tasks.splits import (
    MAX_LABELS,
    SPLITS,
    Fractions,
    SplitReport,
    Splits,
    check_fractions,
    limit_train,
    remove_duplicates,
    split_records,
)
from cuecard.tasks.tables import Wanted, record_place
from cuecard.tasks.template import Template
from cuecard.types import Record, Split

__all__ = ["SpecOptions", "Task", "TaskSpec"]

FRACTIONS: Fractions = (0.8, 0.1, 0.1)


class SpecOptions(TypedDict, total=False):
    """The settings of a TaskSpec that have a default."""

    chat: bool
    system: str | None
    words: Mapping[str, str] | None
    max_length: int
    normalize: Literal["none", "length"]
    max_new_tokens: int


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
    def from_file(
        cls,
        path: str | Path,
        *,
        template: str | None = None,
        labels: Sequence[str] | None = None,
        text_field: str | None = None,
        label_field: str = "label",
        validation: str | Path | None = None,
        test: str | Path | None = None,
        split_field: str | None = None,
        kind: Kind = "classification",
        seed: int = 0,
        split: Fractions = FRACTIONS,
        limit: int | None = None,
        **options: Unpack[SpecOptions],
    ) -> Task:
        """Read a task from labelled data.

        Args:
            path: a file, a folder or a hub name: see `read_records`.
            template: the context; "{text}\\nLabel:" by default ("{text}\\nAnswer:" for
                text-to-text, "{text}" for embedding).
            labels: the labels in order; by default those of the training data, sorted.
            text_field: the column that the template's `{text}` is read from; "text" by default.
            label_field: the column of the label or target text.
            validation, test: files of their own for these; what is not given is cut from `path`.
            split_field: the column that says which split a row belongs to.
            kind: "classification", "text-to-text" or "embedding".
            seed: what the split and the limit depend on, besides the rows' content.
            split: the parts of train, validation and test where they are cut.
            limit: keep at most so many training rows, chosen by content hash.
            options: more settings of the TaskSpec.

        Raises:
            DataError: the data cannot be used; with the row where there is one.
            ConfigError: the settings cannot be used.
        """
        text = template if template is not None else _default_template(kind)
        fields = Template(text).fields
        wanted = Wanted(fields, label_field, _columns(fields, text_field))
        given = _read(path, {"validation": validation, "test": test}, split_field, wanted)
        if kind == "classification" and labels is None:
            labels = find_labels(given["train"], str(path))
        words = options.pop("words", None)
        spec = TaskSpec.parse(
            {
                "kind": kind,
                "template": text,
                "labels": tuple(labels or ()),
                "target_field": label_field,
                "words": dict(words or {}),
                **options,
            }
        )
        return cls.from_records(spec, given, seed=seed, split=split, limit=limit)

    @classmethod
    def from_records(
        cls,
        spec: TaskSpec,
        records: Sequence[Record] | Mapping[Split, Sequence[Record]],
        *,
        seed: int = 0,
        split: Fractions = FRACTIONS,
        limit: int | None = None,
    ) -> Task:
        """A task from records in memory.

        Args:
            spec: what is asked.
            records: all records, or records by split. Validation and test are cut from the
                training records by content hash where they are not given.
            seed, split, limit: as in `from_file`.

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
        cut, made = _cut_missing(given, split, seed)
        splits, report = remove_duplicates(cut.train, cut.validation, cut.test, made)
        if limit is not None:
            splits, report = limit_train(splits, report, limit, seed)
        for name, part in zip(SPLITS, split, strict=True):
            if report.rows[name] == 0 and (name == "train" or name in given or part > 0):
                raise DataError(
                    f"no rows are left for {name}",
                    where=f"split {', '.join(f'{part:g}' for part in split)}",
                    got=", ".join(f"{rows} {other}" for other, rows in report.rows.items()),
                    expected="rows in every split",
                    hint="give more rows, another seed, or a file for each split",
                )
        return cls(spec, splits.train, splits.validation, splits.test, report)


def _read(
    path: str | Path,
    own: Mapping[Split, str | Path | None],
    split_field: str | None,
    wanted: Wanted,
) -> dict[Split, list[Record]]:
    """What the source holds for each split, and what the splits' own files hold."""
    fields, target, columns = wanted.fields, wanted.target, wanted.columns
    given = read_splits(
        path, fields=fields, target_field=target, split_field=split_field, columns=columns
    )
    for name, file in own.items():
        if file is None:
            continue
        if name in given:
            raise ConfigError(
                f"there are two {name} sets",
                where=name,
                got=str(file),
                expected=f"a file of its own or a part of {path}, not both",
            )
        given[name] = read_records(file, fields=fields, target_field=target, columns=columns)
    return given


def find_labels(records: Iterable[Record], where: str) -> tuple[str, ...]:
    """The labels of the records, sorted.

    Raises:
        ConfigError: fewer than two, or so many that they are texts.
    """
    labels = sorted({record.target for record in records if record.target is not None})
    if len(labels) > MAX_LABELS:
        raise ConfigError(
            "too many different labels",
            where=where,
            got=f"{len(labels)} labels, such as {labels[0][:40]!r}",
            expected=f"at most {MAX_LABELS}",
            hint="use the kind text-to-text to produce texts, or check the label's column",
        )
    if len(labels) < 2:
        raise ConfigError(
            "there is only one label" if labels else "there is no label",
            where=where,
            got=", ".join(map(repr, labels)),
            expected="two or more different labels",
        )
    return tuple(labels)


def check_records(spec: TaskSpec, records: Iterable[Record]) -> None:
    """Raise where a record lacks a field or a target, or has a label that is not in the list."""
    template = spec.parsed
    known = set(spec.labels)
    for record in records:
        template.check(record.fields)
        if record.target is None:
            raise DataError(
                "a record without a target",
                where=record_place(record),
                got="nothing",
                expected="a label" if known else "a text",
            )
        if known and record.target not in known:
            raise unknown_label(record, spec.labels)


def _default_template(kind: Kind) -> str:
    texts = {"classification": "{text}\nLabel:", "text-to-text": "{text}\nAnswer:"}
    return texts.get(kind, "{text}")


def _columns(fields: Sequence[str], text_field: str | None) -> dict[str, str]:
    if text_field is None:
        return {}
    if "text" not in fields:
        raise ConfigError(
            "a text column for a template without {text}",
            where="text_field",
            got=text_field,
            expected=f"no text_field: the template reads the columns {', '.join(fields)}",
        )
    return {"text": text_field}


def _cut_missing(
    given: Mapping[Split, Sequence[Record]], fractions: Fractions, seed: int
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
    cut = split_records(rows, (1 - validation - test, validation, test), seed)
    own = {name: tuple(given[name]) for name in SPLITS[1:] if name in given}
    return replace(cut, **own), missing
