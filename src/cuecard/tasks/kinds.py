"""What tells the kinds of tasks apart: their columns, their labels, and what a head is to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol

from cuecard.errors import DataError
from cuecard.tasks.readers.columns import (
    Cell,
    answers_cell,
    answers_of,
    choice_cell,
    labels_cell,
    number_cell,
    options_cell,
    options_of,
    tags_cell,
    words_cell,
)
from cuecard.tasks.readers.tables import TARGET, record_place
from cuecard.tasks.similar import nearest
from cuecard.types import Record

Kind = Literal[
    "classification",
    "text-to-text",
    "multi-label",
    "regression",
    "multiple-choice",
    "tagging",
    "extractive-qa",
    "embedding",
]

# Kinds that have no answer but a head's, and those that have labels.
HEADED: frozenset[Kind] = frozenset({"multi-label", "regression", "tagging", "extractive-qa"})
LABELLED: frozenset[Kind] = frozenset({"classification", "multi-label", "tagging"})

# Kinds that read a state per token of a field, and the field's usual name.
READS_FIELD: Mapping[Kind, str] = MappingProxyType(
    {"tagging": "tokens", "extractive-qa": "context"}
)

TEMPLATES: Mapping[Kind, str] = MappingProxyType(
    {
        "classification": "{text}\nLabel:",
        "text-to-text": "{text}\nAnswer:",
        "multi-label": "{text}\nLabels:",
        "regression": "{text}\nScore:",
        "multiple-choice": "{question}\nAnswer:",
        "tagging": "{tokens}",
        "extractive-qa": "Question: {question}\nContext: {context}\nAnswer:",
        "embedding": "{text}",
    }
)
TARGETS: Mapping[Kind, str] = MappingProxyType({"tagging": "tags", "extractive-qa": "answers"})
"""The target's usual column, where it is not "label"."""

OUTSIDE = "O"


class Labels(Protocol):
    """What of a task says how a head's answers are numbered."""

    kind: Kind
    labels: tuple[str, ...]
    separator: str
    mean: float
    scale: float

    @property
    def read_field(self) -> str: ...


def cells_for(
    kind: Kind, read_field: str, column: str, target: str | None, separator: str, options: str
) -> dict[str, Cell]:
    """How fields and targets are read that are no plain text; see `TaskSpec.cells`.

    Args:
        column: the column of the field that is read.
    """
    cells: dict[str, Cell] = {}
    if kind == "tagging":
        cells[read_field] = words_cell(column)
    if kind == "multiple-choice":
        cells["options"] = options_cell(options)
    if target is None:
        return cells
    made = {
        "multi-label": lambda: labels_cell(target, separator),
        "regression": lambda: number_cell(target),
        "tagging": lambda: tags_cell(target, column),
        "extractive-qa": lambda: answers_cell(target, column),
        "multiple-choice": lambda: choice_cell(target, cells["options"]),
    }
    return cells | {TARGET: made[kind]()} if kind in made else cells


def labels_of(spec: Labels, target: str) -> list[str]:
    """The single labels of a record's target: one, several, or a tag per word."""
    if spec.kind == "multi-label":
        return [part for part in target.split(spec.separator) if part]
    return target.split(" ") if spec.kind == "tagging" else [target]


def goal_of(spec: Labels, record: Record) -> tuple[float, ...]:
    """What a head is to give for a record; nothing where its target is not known.

    A label's number; for each label 0 or 1; the standardised number; a tag's number per word.

    Raises:
        DataError: a label that is not in the list.
    """
    if record.target is None:
        return ()
    if spec.kind == "regression":
        return ((float(record.target) - spec.mean) / spec.scale,)
    numbers = {label: number for number, label in enumerate(spec.labels)}
    found = labels_of(spec, record.target)
    for label in found:
        if label not in numbers:
            raise unknown_label(record, label, spec.labels)
    if spec.kind == "multi-label":
        return tuple(float(label in found) for label in spec.labels)
    return tuple(float(numbers[label]) for label in found)


def check_target(spec: Labels, record: Record) -> None:
    """Raise where a record's target is none of the task's.

    Raises:
        DataError: no target, a label that is not in the list, no number, an answer that is none of
            the options or not in the context.
    """
    if record.target is None:
        raise DataError(
            "a record without a target",
            where=record_place(record),
            got="nothing",
            expected="a label" if spec.labels else "a text",
        )
    where = record_place(record) or "a record"
    if spec.kind == "regression":
        number_cell("target").read({"target": record.target}, {}, where)
    elif spec.kind == "extractive-qa":
        values = {"answers": _pairs(record.target), "context": record.fields["context"]}
        answers_cell("answers", "context").read(values, {}, where)
    elif spec.kind == "multiple-choice":
        given = options_of(record.fields["options"])
        if record.target not in given:
            raise unknown_label(record, record.target, given)
    elif spec.kind in LABELLED:
        known = set(spec.labels)
        if spec.kind == "tagging":
            count = len(record.fields[spec.read_field].split(" "))
            if len(record.target.split(" ")) != count:
                raise DataError(
                    "tags that do not fit the words",
                    where=record_place(record),
                    got=len(record.target.split(" ")),
                    expected=f"{count} tags",
                )
        for label in labels_of(spec, record.target):
            if label not in known:
                raise unknown_label(record, label, spec.labels)


def answer_place(record: Record) -> tuple[int, int]:
    """Where a record's first answer stands in its context: its characters from start to end."""
    (text, start), *_ = answers_of(record.target or "")
    return start, start + len(text)


def unknown_label(record: Record, label: str, labels: Sequence[str]) -> DataError:
    """The error for a record whose label is not in the list."""
    return DataError(
        "a label that is not in the list",
        where=record_place(record),
        got=repr(label),
        expected=f"one of {', '.join(map(repr, labels))}",
        hint=nearest(label, labels),
    )


def _pairs(target: str) -> dict[str, list[str] | list[int]]:
    found = answers_of(target)
    return {"text": [text for text, _ in found], "answer_start": [start for _, start in found]}
