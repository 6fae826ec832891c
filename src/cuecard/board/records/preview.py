"""A data set as a training would see it: rows, labels, lengths, what was dropped, what to mind."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuecard.errors import ConfigError
from cuecard.evaluation.advice import advice
from cuecard.runs.recipe import Recipe
from cuecard.tasks import Task
from cuecard.tasks.readers.compressed import data_suffix
from cuecard.tasks.readers.records import READERS
from cuecard.tasks.template import Template
from cuecard.training.storage.log import FILE as LOG
from cuecard.types import Record

ROWS = 20
_BINS = 12
_MOST_FILES, _DEEPEST = 200, 3
# Python's record of warnings is the whole process's.
_READING = threading.Lock()


@dataclass(frozen=True)
class ShownRow:
    """A training row as it is read.

    Attributes:
        source, row: its file, and its row there.
        target: as text.
        rendered: what the model reads of it.
        images: the digests of its images.
    """

    source: str
    row: int
    target: str
    rendered: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What a training would see.

    Attributes:
        kind: of the task.
        rows: by split.
        labels: label -> rows by split; empty where targets are texts.
        lengths: (from, to, rows) of the training rows' words.
        dropped: what was dropped -> how many rows.
        conflicts: texts with more than one target, and where the first of them are.
        notes: what to mind, in sentences.
        shown: the first training rows.
    """

    kind: str
    rows: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    lengths: tuple[tuple[int, int, int], ...]
    dropped: Mapping[str, int]
    conflicts: tuple[int, tuple[str, ...]]
    notes: tuple[str, ...]
    shown: tuple[ShownRow, ...]


def data_files(folder: Path) -> list[str]:
    """Files below a folder that may hold rows, by their paths from it; hidden ones are left out."""
    found: list[str] = []
    folders = [(folder, 0)]
    while folders and len(found) < _MOST_FILES:
        here, depth = folders.pop(0)
        try:
            inside = sorted(here.iterdir())
        except OSError:
            continue
        for path in inside:
            if path.name.startswith(".") or path.is_symlink():
                continue
            if path.is_dir() and depth < _DEEPEST and not (path / LOG).exists():
                folders.append((path, depth + 1))
            elif data_suffix(path) in READERS or path.suffix == ".gz":  # arrays of images too
                found.append(str(path.relative_to(folder)))
    return found[:_MOST_FILES]


def check_place(key: str, path: str, folder: Path) -> None:
    """A path that was typed for a setting must lie below a folder.

    Raises:
        ConfigError: it leads elsewhere, or nowhere.
    """
    try:
        place = (folder / path).resolve()
        exists = place.exists()
    except (OSError, ValueError):  # a name that no file can have
        exists, place = False, folder
    if not exists or not place.is_relative_to(folder.resolve()):
        raise ConfigError(
            "there is no such file below the board's folder",
            where=key,
            got=path,
            expected=f"a file or folder below {folder.resolve()}",
            hint="start the board where the data are",
        )


def read_quietly(recipe: Recipe) -> tuple[Task, list[str]]:
    """A recipe's task, and what Python's warnings said of it.

    Raises:
        CuecardError: the data cannot be used.
    """
    with _READING, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        task = recipe.read_task()
    return task, [str(one.message) for one in told]


def preview(values: Mapping[str, Any]) -> tuple[Preview, Task]:
    """Read a recipe's data.

    Raises:
        CuecardError: whatever a training would refuse.
    """
    task, told = read_quietly(Recipe.parse(values))
    spec, report = task.spec, task.report
    labels = {
        label: {str(split): counts.get(label, 0) for split, counts in report.labels.items()}
        for label in dict.fromkeys(x for counts in report.labels.values() for x in counts)
    }
    found = Preview(
        kind=spec.kind,
        rows={str(split): rows for split, rows in report.rows.items()},
        labels=labels,
        lengths=_bins([_words(record) for record in task.train]),
        dropped={
            "repeated in the training rows": report.repeated_in_train,
            "training rows also in validation or test": report.train_in_held_out,
            "validation rows also in the test": report.validation_in_test,
        },
        conflicts=(report.conflicting, report.conflict_examples),
        notes=(*dict.fromkeys(told), *advice(task)),
        shown=tuple(_shown(task, record) for record in task.train[:ROWS]),
    )
    return found, task


def _shown(task: Task, record: Record) -> ShownRow:
    template = Template(task.spec.template)
    return ShownRow(
        source=record.source,
        row=record.row,
        target=task.spec.target_text(record) or "",
        rendered=template.render(record.texts, prompt="{prompt}", mask="{mask}"),
        images=tuple(image.digest for image in record.images),
    )


def _words(record: Record) -> int:
    return sum(len(text.split()) for text in record.texts.values())


def _bins(lengths: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """(from, to, rows) in bins of equal width."""
    if not lengths:
        return ()
    low, high = min(lengths), max(lengths)
    width = max(1, -(-(high - low + 1) // _BINS))
    starts = range(low, high + 1, width)
    counts = [sum(start <= length < start + width for length in lengths) for start in starts]
    return tuple((s, s + width - 1, n) for s, n in zip(starts, counts, strict=True))
