"""Rows drawn so that every label has its share of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cuecard.tasks.splits import drawn_at
from cuecard.types import Record


def draw_stratified(
    records: Sequence[Record], count: int, salt: str, label_of: Callable[[Record], str]
) -> tuple[Record, ...]:
    """At most so many records, as many of each label as its share of all, in their order.

    A label's records are chosen by content hash. Each label has one as far as `count` allows.
    """
    if count >= len(records):
        return tuple(records)
    by_label: dict[str, list[int]] = {}
    for number, record in enumerate(records):
        by_label.setdefault(label_of(record), []).append(number)
    shares = {label: count * len(own) / len(records) for label, own in by_label.items()}
    places = dict.fromkeys(shares, 0)
    for _ in range(count):
        # What has none comes first, then what lacks most.
        lacking = max(shares, key=lambda x: (places[x] == 0, shares[x] - places[x], x))
        places[lacking] += 1
    chosen: list[int] = []
    for label, own in by_label.items():
        drawn = sorted(own, key=lambda number: drawn_at(records[number], salt))
        chosen += drawn[: places[label]]
    return tuple(records[number] for number in sorted(chosen))
