"""Which record belongs to training, validation or test: decided by its content alone."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from cuecard.errors import ConfigError
from cuecard.tasks.groups import Grouping, components, keys_of
from cuecard.types import Record, Split, value_text

SPLITS: tuple[Split, ...] = get_args(Split)
Fractions = tuple[float, float, float]

# How often a split into few large groups is drawn, until every part has so much of what it should.
_DRAWS, _EVEN = 32, 0.5
_NO_GROUPING = Grouping()

TextOf = Callable[[Record], str | None]
"""The text of a record's target, see `TaskSpec.target_text`."""

MAX_COUNTED = 200  # different targets that a report counts one by one
"""More different targets than this are texts, not labels."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Records by what they are for."""

    train: tuple[Record, ...] = ()
    validation: tuple[Record, ...] = ()
    test: tuple[Record, ...] = ()

    def items(self) -> tuple[tuple[Split, tuple[Record, ...]], ...]:
        """The three splits by name."""
        return ("train", self.train), ("validation", self.validation), ("test", self.test)


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What was done to the data, and what is left.

    Attributes:
        rows: rows by split.
        labels: rows by split and label; empty where the targets are texts.
        repeated_in_train: training rows dropped because an earlier one says the same.
        train_in_held_out: training rows dropped because validation or test holds a near-copy of
            them or their group.
        validation_in_test: validation rows dropped because the test holds such.
        conflicting: texts with more than one target.
        conflict_examples: where the first of them are, as "file, row 3 and file, row 9".
        cut_from_train: the splits that were cut from the training rows by content hash.
        data_hash: SHA-256 over every split's fields and targets in order.
        group_fields: the fields whose equal texts stay in one split.
        grouping: a sentence on them, and on what was removed; empty where there are none.
        shots: a sentence on the few rows that were drawn; empty where none were.
    """

    rows: Mapping[Split, int]
    labels: Mapping[Split, Mapping[str, int]]
    repeated_in_train: int
    train_in_held_out: int
    validation_in_test: int
    conflicting: int
    conflict_examples: tuple[str, ...]
    cut_from_train: tuple[Split, ...]
    data_hash: str
    group_fields: tuple[str, ...] = ()
    grouping: str = ""
    shots: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        return asdict(self)


def target_text(record: Record) -> str | None:
    """The text of a target that is one, or of any value without its kind's separator."""
    return None if record.target is None else value_text(record.target)


def content_hash(record: Record, fields: Sequence[str] | None = None) -> str:
    """SHA-256 of a record's texts: NFC, runs of whitespace as one space, case kept.

    The target is not part of it: the same text with two labels is one content.

    Args:
        record: the record.
        fields: which fields count; all by default.
    """
    names = sorted(record.fields) if fields is None else fields
    texts = [" ".join(unicodedata.normalize("NFC", record.text(name)).split()) for name in names]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise ConfigError where the parts are not three, are negative or do not sum to 1."""
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigError(
            "the split's fractions cannot be used",
            where="split",
            got=", ".join(f"{part:g}" for part in fractions),
            expected="three parts for train, validation and test that sum to 1",
        )


def split_records(
    records: Sequence[Record], fractions: Fractions, seed: int = 0, fields: Sequence[str] = ()
) -> Splits:
    """Split by content hash.

    Near-copies, records of one group and records that share a text of `fields` land in the same
    split: that of the one among them with the smallest content hash. A record's split depends on
    nothing but that, the fractions and the seed: not on the order, and on no other records, except
    that a seed whose groups fall too unevenly is replaced by the next draw.

    Args:
        records: what to split.
        fractions: the expected parts of train, validation and test.
        seed: another seed is another split.
        fields: see `choose_grouping`.

    Raises:
        ConfigError: fractions that are negative or do not sum to 1.
    """
    check_fractions(fractions)
    linked = components([keys_of(record, fields) for record in records])
    hashes = [content_hash(record) for record in records]
    least = dict[int, str]()
    for part, content in zip(linked, hashes, strict=True):
        least[part] = min(content, least.get(part, content))
    tries = _DRAWS if fields or any(record.group for record in records) else 1
    contents = [least[part] for part in linked]
    best, most = Splits(), -1.0
    for draw in range(tries):
        salt = f"split:{seed}" if draw == 0 else f"split:{seed}:{draw}"
        drawn = _drawn(records, contents, fractions, salt)
        even = _evenness(drawn, fractions)
        if even > most:
            best, most = drawn, even
        if even >= _EVEN:
            break
    return best


def _drawn(
    records: Sequence[Record], contents: Sequence[str], fractions: Fractions, salt: str
) -> Splits:
    chosen: dict[Split, list[Record]] = {name: [] for name in SPLITS}
    for record, content in zip(records, contents, strict=True):
        at = _uniform(content, salt)
        if at < fractions[0]:
            chosen["train"].append(record)
        elif at < fractions[0] + fractions[1] or fractions[2] == 0:
            chosen["validation" if fractions[1] > 0 else "train"].append(record)
        else:
            chosen["test"].append(record)
    return Splits(*(tuple(chosen[name]) for name in SPLITS))


def _evenness(splits: Splits, fractions: Fractions) -> float:
    """The smallest share of what a split should have that it has."""
    total = sum(len(rows) for _, rows in splits.items()) or 1
    parts = zip(splits.items(), fractions, strict=True)
    return min(len(rows) / (part * total) for (_, rows), part in parts if part > 0)


def remove_duplicates(
    train: Sequence[Record],
    validation: Sequence[Record],
    test: Sequence[Record],
    cut_from_train: Sequence[Split] = (),
    grouping: Grouping = _NO_GROUPING,
    text_of: TextOf = target_text,
) -> tuple[Splits, SplitReport]:
    """Take out of training what validation or test holds, and out of validation what test holds.

    A near-copy counts, and so does a record of the same group or with the same text in a field of
    `grouping`; that not where it would take more than half of the rows. Rows of the test are never
    touched. A training row that repeats an earlier one, target included, goes too; the same text
    with another target stays and is reported.
    """
    hashes = {id(r): content_hash(r) for rows in (train, validation, test) for r in rows}
    grouping, held = _held_out(train, validation, test, grouping)
    kept_validation = tuple(validation[i] for i in held.validation)
    apart = [train[i] for i in held.train]
    first: dict[tuple[str, str | None], Record] = {}
    for record in apart:
        first.setdefault((hashes[id(record)], text_of(record)), record)
    conflicts = _conflicts([*train, *validation, *test], hashes, text_of)
    splits = Splits(tuple(first.values()), kept_validation, tuple(test))
    report = SplitReport(
        rows={},
        labels={},
        repeated_in_train=len(apart) - len(first),
        train_in_held_out=len(train) - len(apart),
        validation_in_test=len(validation) - len(kept_validation),
        conflicting=len(conflicts),
        conflict_examples=tuple(conflicts[:5]),
        cut_from_train=tuple(cut_from_train),
        data_hash="",
        group_fields=grouping.fields,
        grouping=grouping.note,
    )
    return splits, recount(report, splits, text_of)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Which rows of train and validation stay, by number."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


def _held_out(
    train: Sequence[Record],
    validation: Sequence[Record],
    test: Sequence[Record],
    grouping: Grouping,
) -> tuple[Grouping, _Kept]:
    """What stays in training and validation; no grouping where it would leave less than half."""
    kept = _without_held_out(train, validation, test, grouping.fields)
    if not grouping.fields:
        return grouping, kept
    plain = _without_held_out(train, validation, test, ())
    gone = len(plain.train) - len(kept.train), len(plain.validation) - len(kept.validation)
    if gone[0] > len(plain.train) / 2 or gone[1] > len(plain.validation) / 2:
        listed = " or ".join(map(repr, grouping.fields))
        note = (
            f"{gone[0]:,} training and {gone[1]:,} validation rows share their {listed} with rows "
            "that are held out, and were kept because they are so many; name a data.group_field "
            "to remove them"
        )
        return Grouping((), note), plain
    if any(gone):
        removed = f"; removed for it: {gone[0]:,} training and {gone[1]:,} validation rows"
        return replace(grouping, note=grouping.note + removed), kept
    return grouping, kept


def _without_held_out(
    train: Sequence[Record],
    validation: Sequence[Record],
    test: Sequence[Record],
    fields: Sequence[str],
) -> _Kept:
    in_test = {key for record in test for key in keys_of(record, fields)}
    apart = [in_test.isdisjoint(keys_of(record, fields)) for record in validation]
    kept = tuple(i for i, free in enumerate(apart) if free)
    held_out = in_test | {key for record in validation for key in keys_of(record, fields)}
    free = [i for i, r in enumerate(train) if held_out.isdisjoint(keys_of(r, fields))]
    return _Kept(tuple(free), kept)


def limit_train(
    splits: Splits, report: SplitReport, limit: int, seed: int, text_of: TextOf = target_text
) -> tuple[Splits, SplitReport]:
    """Keep at most so many training rows, chosen by content hash, in their order."""
    if limit < 1:
        raise ConfigError("the limit leaves no rows", where="limit", got=limit, expected="1 up")
    if len(splits.train) <= limit:
        return splits, report
    splits = replace(splits, train=draw_rows(splits.train, limit, f"limit:{seed}"))
    return splits, recount(report, splits, text_of)


def limit_held_out(
    splits: Splits, report: SplitReport, limit: int, seed: int, text_of: TextOf = target_text
) -> tuple[Splits, SplitReport]:
    """Keep at most so many validation rows and as many of the test, chosen by content hash."""
    if limit < 1:
        raise ConfigError("the limit leaves no rows", where="limit", got=limit, expected="1 up")
    drawn = {
        name: draw_rows(rows, limit, f"limit:{seed}")
        for name, rows in splits.items()
        if name != "train" and len(rows) > limit
    }
    if not drawn:
        return splits, report
    splits = replace(splits, **drawn)
    return splits, recount(report, splits, text_of)


def draw_rows(records: Sequence[Record], count: int, salt: str) -> tuple[Record, ...]:
    """At most so many records, chosen by content hash, in their order.

    The first ones would not do: files are often sorted by label.
    """
    draw = [drawn_at(record, salt) for record in records]
    chosen = sorted(sorted(range(len(draw)), key=draw.__getitem__)[:count])
    return tuple(records[index] for index in chosen)


def drawn_at(record: Record, salt: str) -> float:
    """A record's place in a draw, in [0, 1): its content and the salt decide."""
    return _uniform(content_hash(record), salt)


def data_hash(splits: Splits, text_of: TextOf = target_text) -> str:
    """SHA-256 over every split's fields and targets, exactly and in order."""
    digest = hashlib.sha256()
    for name, rows in splits.items():
        digest.update(f"{name}\n".encode())
        for record in rows:
            line = json.dumps([sorted(record.texts.items()), text_of(record)])
            digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def recount(report: SplitReport, splits: Splits, text_of: TextOf = target_text) -> SplitReport:
    """The same report of other splits: their rows, labels and hash."""
    counts = {
        name: Counter(text for r in rows if (text := text_of(r)) is not None)
        for name, rows in splits.items()
    }
    texts = any(len(counter) > MAX_COUNTED for counter in counts.values())
    return replace(
        report,
        rows={name: len(rows) for name, rows in splits.items()},
        labels={} if texts else {name: dict(sorted(c.items())) for name, c in counts.items()},
        data_hash=data_hash(splits, text_of),
    )


def _conflicts(rows: Sequence[Record], hashes: Mapping[int, str], text_of: TextOf) -> list[str]:
    """One line for each text with more than one target: where two of its targets stand."""
    first: dict[str, Record] = {}
    found: dict[str, str] = {}
    for record in rows:
        if record.target is None:
            continue
        content = hashes[id(record)]
        other = first.setdefault(content, record)
        if text_of(other) != text_of(record):
            places = f"{other.source}, row {other.row} and {record.source}, row {record.row}"
            found.setdefault(content, places)
    return list(found.values())


def _uniform(content: str, salt: str) -> float:
    """A number in [0, 1) that depends on nothing but the content and the salt."""
    drawn = hashlib.sha256(f"{salt}:{content}".encode()).digest()[:8]
    return int.from_bytes(drawn, "big") / 2**64
