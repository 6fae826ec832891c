"""The labels of a task: found in its data, and what to mind about them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from cuecard.errors import ConfigError, DataWarning
from cuecard.tasks.similar import look_alikes, look_alikes_told
from cuecard.tasks.spec import TaskSpec
from cuecard.tasks.splits import Splits
from cuecard.types import Record
from cuecard.validation_text import first_of

_NAMED = 10  # labels in a warning
# The most labels that are found in data; a list in the recipe may be longer.
MAX_LABELS = 2000
# More labels than this are taken for texts where so large a part of the rows has one of its own.
_FEW_LABELS, _TEXTS = 200, 0.5


def find_labels(records: Iterable[Record], where: str, spec: TaskSpec) -> tuple[str, ...]:
    """The labels of the records, in their kind's order.

    Raises:
        ConfigError: fewer than two, or so many that they are texts.
    """
    given = [record.target for record in records if record.target is not None]
    kind = spec.task_kind
    labels = kind.sorted_labels(list({x for text in {*given} for x in kind.labels_of(spec, text)}))
    if len(labels) > MAX_LABELS:
        raise ConfigError(
            "too many different labels",
            where=where,
            got=f"{len(labels)} labels, such as {labels[0][:40]!r}",
            expected=f"at most {MAX_LABELS:,}",
            hint="list them in the recipe (task.labels) if they are labels; the kind text-to-text "
            "produces texts",
        )
    if len(labels) > _FEW_LABELS and len(labels) > _TEXTS * len(given):
        raise ConfigError(
            "too many different labels",
            where=where,
            got=f"{len(labels):,} different labels in {len(given):,} rows, such as "
            f"{labels[0][:40]!r}",
            expected=f"up to {_FEW_LABELS} labels, or fewer different ones than rows",
            hint="name the label's column (--label-field), list the labels in the recipe "
            "(task.labels), or use the kind text-to-text",
        )
    if len(labels) < kind.least_labels:
        raise ConfigError(
            "there is only one label" if labels else "there is no label",
            where=where,
            got=", ".join(map(repr, labels)),
            expected="two or more different labels",
        )
    return tuple(labels)


def warn_of_look_alikes(labels: Sequence[str]) -> None:
    """Name labels that a person would take for one."""
    pairs = look_alikes(labels)
    if pairs:
        more = "" if len(pairs) <= _NAMED else f"; and {len(pairs) - _NAMED:,} more pairs"
        text = f"labels look alike: {look_alikes_told(pairs[:_NAMED])}{more}"
        warnings.warn(DataWarning(text), stacklevel=3)


def warn_of_untrained(spec: TaskSpec, splits: Splits, limit: int | None) -> None:
    """Name the labels that no training row has: the model never sees them."""
    if not spec.labels or not splits.train:
        return
    labels_of = spec.task_kind.labels_of
    seen = {label for r in splits.train if r.target for label in labels_of(spec, r.target)}
    unseen = [label for label in spec.labels if label not in seen]
    if not unseen:
        return
    some = first_of([*map(repr, unseen)], _NAMED)
    why = "" if limit is None else f" within the limit of {limit:,}"
    are = "1 label has" if len(unseen) == 1 else f"{len(unseen):,} labels have"
    warnings.warn(
        DataWarning(f"{are} no training row{why} and cannot be learnt: {some}"), stacklevel=3
    )
