"""What searches are compared on: sets of a few shots per label, and a folder of tasks.

The test rows of a set are the same for all its seeds, and in none of their training and validation
rows, so that seeds and contestants can be compared row by row. A folder's set without a test file
is tested on as many rows of the other seeds, which are others for each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.methods.sets import SETS, Rows, read_task, rows_beside
from cuecard.errors import ConfigError
from cuecard.search.candidate import with_stop
from cuecard.tasks import Task, TaskSpec, draw_rows
from cuecard.tasks.splits import drawn_at
from cuecard.types import Record, Split

CATALOGUE = ("sentiment", "topic")
"""Of `methods_sets.SETS`: what is taken without a folder."""

SEEDS = (13, 21, 42, 87, 100)
"""Those of the 16-shot sets of RLPrompt (Deng et al. 2022) and LM-BFF (Gao et al. 2021)."""

_DRAW = "search"
# A column of so few values, each so often, is one of labels.
_LABELS, _EACH = 20, 5


@dataclass(frozen=True)
class Sizes:
    """How many rows of each kind, and how much of each is read.

    Attributes:
        shots: training rows per label, and as many validation rows.
        train: training rows of a folder's task, and as many validation rows.
    """

    shots: int = 16
    train: int = 60
    test: int = 200
    tokens: int = 64


@dataclass(frozen=True)
class _Asked:
    """How the rows of a set are asked: a template, and words for its labels in their order."""

    template: str
    words: Sequence[str]


_REVIEWS = _Asked("Review: {text}\nSentiment:", ("negative", "positive"))
_SHOT_SETS = {
    "sst-2": _REVIEWS,
    "yelp-2": _REVIEWS,
    "mr": _REVIEWS,
    "cr": _REVIEWS,
    "agnews": _Asked("News: {text}\nTopic:", ("world", "sports", "business", "technology")),
    "subj": _Asked("Sentence: {text}\nThis is:", ("subjective", "objective")),
    "trec": _Asked(
        "Question: {text}\nAnswer type:",
        ("description", "entity", "abbreviation", "human", "location", "number"),
    ),
}
SEVEN = tuple(_SHOT_SETS)
SHOT_SETS = ("sst-2", "mr", "agnews", "subj")
"""Of the seven, those that searches are compared on."""


@dataclass(frozen=True)
class ShotRows:
    """A set with a seed's own shots, and what nobody is trained or tested on.

    Attributes:
        rest: rows of the same set; their labels are not to be read.
    """

    task: Task
    rest: Sequence[Record]

    def unlabelled(self, count: int, seed: int) -> list[Record]:
        """So many rows of the rest at most, without labels."""
        rows = sorted(self.rest, key=lambda record: drawn_at(record, f"{_DRAW} {seed}"))
        return [replace(record, target=None) for record in rows[:count]]


def catalogue_task(name: str, seed: int, sizes: Sizes, data: str | None = None) -> Task:
    """The task of `catalogue_rows`."""
    return catalogue_rows(name, seed, sizes, data).task


def catalogue_rows(name: str, seed: int, sizes: Sizes, data: str | None = None) -> ShotRows:
    """A set of the catalogue, with a seed's own shots of every label.

    Args:
        data: a file instead of the set's own source.
    """
    rows = Rows(validation=sizes.test, test=sizes.test, tokens=sizes.tokens)
    whole = read_task(SETS[name], rows, data)
    train, validation = _shots(whole.train, whole.spec.labels, sizes.shots, seed)
    task = replace(whole, train=tuple(train), validation=tuple(validation))
    return ShotRows(task, rows_beside(whole.train, (*train, *validation)))


def shot_task(folder: Path, name: str, seed: int, sizes: Sizes, tests: Path | None = None) -> Task:
    """The task of `shot_rows`."""
    return shot_rows(folder, name, seed, sizes, tests).task


def shot_rows(
    folder: Path, name: str, seed: int, sizes: Sizes, tests: Path | None = None
) -> ShotRows:
    """A set of a folder: NAME/labels.json, NAME/SEED/train.jsonl and dev.jsonl, NAME/test.jsonl.

    Where every row of dev is one of train too, as in RLPrompt's Subj, as many validation rows are
    drawn from those of the test file that nobody is tested on.

    Args:
        tests: where NAME/test.jsonl lies, with or without the hyphens in NAME; else the folder.

    Raises:
        ConfigError: a file that is not there.
    """
    home = folder / name
    labels = json.loads(_there(home / "labels.json").read_text("utf-8"))
    asked = _SHOT_SETS.get(name, _Asked("Text: {text}\nLabel:", labels))
    parts = {
        each: [
            _records(home / str(each) / f"{part}.jsonl", asked.words) for part in ("train", "dev")
        ]
        for each in sorted(int(path.name) for path in home.iterdir() if path.name.isdigit())
    }
    if seed not in parts:
        raise ConfigError("the set has no such seed", where=str(home), got=seed, expected=[*parts])
    places = [home / "test.jsonl"]
    if tests is not None:
        places += [tests / own / "test.jsonl" for own in (name, name.replace("-", ""))]
    place = next((each for each in places if each.is_file()), None)
    if place is None and len(parts) == 1:
        raise ConfigError("the set has no test rows", where=str(places[-1]))
    if place is None:
        others = {each: _of_others(parts, each) for each in parts}
        rest, count = others[seed], min(sizes.test, *map(len, others.values()))
    else:
        seen = {_text(record) for pair in parts.values() for rows in pair for record in rows}
        rest, count = _unseen(_records(place, asked.words), seen), sizes.test
    test = draw_rows(rest, count, _DRAW)
    rest = _unseen(rest, {_text(record) for record in test})
    train, validation = parts[seed]
    validation = _unseen(validation, {_text(record) for record in train})
    if not validation:
        validation = _shots(rest, asked.words, sizes.shots, seed)[0]
        rest = _unseen(rest, {_text(record) for record in validation})
    task = Task.from_records(
        TaskSpec(
            kind="classification",
            template=asked.template,
            labels=tuple(asked.words),
            max_length=sizes.tokens,
        ),
        _splits(train, validation, test),
    )
    return ShotRows(task, rest)


def folder_task(file: Path, seed: int, sizes: Sizes, *, chat: bool) -> Task:
    """A task of a JSON file, as BIG-Bench Hard and instruction induction have them.

    Its `examples` are a list, or an object by number, of an `input` with a `target` or an `output`,
    which may be a list of right ones; the first is asked for. Few values are labels, others texts.

    Raises:
        ConfigError: a file of another layout, or of too few rows.
    """
    found = json.loads(_there(file).read_text("utf-8"))["examples"]
    rows: Sequence[Any] = [*found.values()] if isinstance(found, dict) else found
    records = _unseen([_example(row, file, number) for number, row in enumerate(rows, 1)], set())
    values = sorted({str(record.target) for record in records})
    labelled = 2 <= len(values) <= min(_LABELS, len(records) // _EACH)
    spec = TaskSpec(
        kind="classification" if labelled else "text-to-text",
        template="Input: {text}\nOutput:",
        target_field="target",
        labels=tuple(values) if labelled else (),
        max_length=sizes.tokens,
        max_new_tokens=16,
        chat=chat and labelled,  # words that end in "Output:" are there to be completed
    )
    test = draw_rows(records, min(sizes.test, len(records) // 2), _DRAW)
    left = _unseen(records, {_text(record) for record in test})
    drawn = sorted(left, key=lambda record: drawn_at(record, f"{_DRAW} {seed}"))
    count = min(sizes.train, len(drawn) // 2)
    return with_stop(
        Task.from_records(spec, _splits(drawn[:count], drawn[count : 2 * count], test))
    )


def _splits(
    train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]
) -> Mapping[Split, Sequence[Record]]:
    return {"train": train, "validation": validation, "test": test}


def _shots(
    records: Sequence[Record], labels: Sequence[str], count: int, seed: int
) -> tuple[list[Record], list[Record]]:
    """So many rows of each label, and as many other ones."""
    first: list[Record] = []
    second: list[Record] = []
    for label in labels:
        own = [record for record in records if record.target == label]
        drawn = sorted(own, key=lambda record: drawn_at(record, f"{_DRAW} {seed}"))
        first += drawn[:count]
        second += drawn[count : 2 * count]
    return first, second


def _records(file: Path, words: Sequence[str]) -> list[Record]:
    """Rows of a `text` and the number of its `label`."""
    lines = _there(file).read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [
        Record({"text": row["text"]}, words[row["label"]], str(file), number)
        for number, row in enumerate(rows, 1)
    ]


def _example(row: Mapping[str, Any], file: Path, number: int) -> Record:
    target = row.get("target", row.get("output"))
    if isinstance(target, list):
        target = target[0]
    if "input" not in row or target is None:
        raise ConfigError(
            "an example is no input with its output",
            where=f"{file}, example {number}",
            got=", ".join(row),
            expected="input, and target or output",
        )
    return Record({"text": str(row["input"])}, str(target), str(file), number)


def _of_others(parts: Mapping[int, Sequence[Sequence[Record]]], seed: int) -> list[Record]:
    """The rows of all seeds but one that it has not."""
    own = {_text(record) for rows in parts[seed] for record in rows}
    others = [record for each, pair in parts.items() if each != seed for r in pair for record in r]
    return _unseen(others, own)


def _unseen(records: Sequence[Record], seen: set[str]) -> list[Record]:
    """Those of other texts, each text once."""
    first = {_text(record): record for record in reversed(records)}
    return [record for text, record in reversed(first.items()) if text not in seen]


def _text(record: Record) -> str:
    return record.texts["text"]


def _there(file: Path) -> Path:
    if not file.is_file():
        raise ConfigError("there is no such file", where=str(file))
    return file
