"""Which records must stay in one split: near-copies, and those that share a text.

A pair of texts (question and passage, premise and hypothesis) leaks where one of the two is in
training and in the test, though no whole record does.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from statistics import median

from cuecard.types import Record

OFF = "none"
"""The group field that means no groups."""

# A larger share of the rows in one group says that the field is a setting, such as an instruction.
_LARGEST = 0.25
# Shorter texts with more rows each are categories, such as a language or a product.
_SHORT, _ROWS_EACH, _LONG = 8, 20, 40

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Grouping:
    """What keeps records together besides being near-copies.

    Attributes:
        fields: the fields of which equal texts stay in one split; empty for none.
        note: a sentence about it; empty where there is nothing to say.
    """

    fields: tuple[str, ...] = ()
    note: str = ""


@lru_cache(maxsize=1 << 18)
def near_form(text: str) -> str:
    """A text without what near-copies differ in: case, punctuation, spaces, invisible characters.

    NFKC and case folding; punctuation and spaces are dropped but between digits, where they are one
    space ("1.5" is not "15"). Symbols stay ("C++" is not "C"). A text of nothing else is kept as it
    is, but for runs of spaces. Asked for many times of every text; see `forget_forms`.
    """
    known = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    words = known.translate(_dropped()).split()
    spaced = " ".join(words)
    bare = _BETWEEN.sub("", spaced) if _NUMBERS.search(spaced) else "".join(words)
    return bare or " ".join(unicodedata.normalize("NFC", text).split())


def forget_forms() -> None:
    """Free the memory of the near forms known."""
    near_form.cache_clear()


_NUMBERS = re.compile(r"\d \d")
_BETWEEN = re.compile(r"(?<!\d) | (?!\d)")
# Where punctuation, spaces and invisible characters are; what NFKC replaces is not among them.
_PLACES = (range(0x3100), range(0xA480, 0xAC00), range(0xFB00, 0x11200), range(0xE0000, 0xE0200))


@cache
def _dropped() -> dict[int, str | None]:
    """Code point -> a space for punctuation and spaces, None for what is invisible."""
    found: dict[int, str | None] = {}
    for code in chain(*_PLACES):
        category = unicodedata.category(chr(code))
        if category == "Cf":
            found[code] = None
        elif category[0] in "PZ" or category == "Cc":
            found[code] = " "
    return found


def near_copy(record: Record) -> str:
    """What a record's near-copies have in common, whatever their targets: its texts' near forms."""
    return "\x1f".join(near_form(record.text(name)) for name in sorted(record.fields))


def keys_of(record: Record, fields: Sequence[str]) -> list[Key]:
    """What a record may share with others: its near form, its group, its texts in `fields`."""
    found = [("", near_copy(record))]
    if record.group:
        found.append(("group", near_form(record.group)))
    texts = [(name, near_form(record.text(name))) for name in fields]
    # Rows that leave a field empty have nothing in common by that.
    return found + [(f"field {name}", text) for name, text in texts if text]


def components(keys: Sequence[Sequence[Key]]) -> list[int]:
    """For each record the number of the first one that it is linked with, by shared keys."""
    parent = list(range(len(keys)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[Key, int] = {}
    for index, some in enumerate(keys):
        for key in some:
            one, two = root(first.setdefault(key, index)), root(index)
            parent[max(one, two)] = min(one, two)
    return [root(index) for index in range(len(keys))]


def choose_grouping(records: Sequence[Record]) -> Grouping:
    """The fields whose texts repeat over records that differ, for records of several fields.

    Left out: a field of one text or of categories. Where all of them together would link more than
    a quarter of the records, the one field with the most records that share a text.
    """
    names = sorted(records[0].fields) if records else []
    if len(names) < 2:
        return Grouping()
    # Copies of a whole record say nothing about its parts.
    unlike = list({near_copy(record): record for record in records}.values())
    shared = {name: _shared(unlike, name) for name in names}
    usable = [name for name in names if shared[name] and _is_text(unlike, name)]
    if not usable:
        return Grouping()
    for some in (usable, *([name] for name in sorted(usable, key=lambda name: -shared[name]))):
        if _largest(unlike, some) <= _LARGEST * len(unlike):
            listed = " or ".join(f"{name!r}" for name in some)
            return Grouping(
                tuple(some),
                f"rows with the same {listed} stay in one split: {_many(shared, some)} share one "
                f"(data.group_field: {OFF} splits row by row)",
            )
    listed = ", ".join(repr(name) for name in usable)
    return Grouping(
        (),
        f"texts repeat in {listed}, but would link too many rows to split by them; name a "
        "data.group_field to keep its rows in one split",
    )


def _many(shared: dict[str, int], fields: Sequence[str]) -> str:
    return " and ".join(f"{shared[name]:,} rows" for name in fields)


def _shared(records: Sequence[Record], name: str) -> int:
    """How many records share their text of a field with another."""
    counts = Counter(near_form(record.text(name)) for record in records)
    return sum(count for text, count in counts.items() if text and count > 1)


def _is_text(records: Iterable[Record], name: str) -> bool:
    """Whether a field holds texts of its own rather than one of a few settings."""
    counts = Counter(near_form(r.text(name)) for r in records if r.text(name).strip())
    if not counts:
        return False
    length = median(len(text) for text in counts)
    if len(counts) < 2 or length < _SHORT:
        return False
    return length >= _LONG or counts.total() <= _ROWS_EACH * len(counts)


def _largest(records: Sequence[Record], fields: Sequence[str]) -> int:
    found = components([keys_of(record, fields) for record in records])
    return max(Counter(found).values())
