"""Draws in which every label has its share."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuecard.tasks.stratified import draw_stratified
from cuecard.types import Record


def rows(counts: dict[str, int]) -> list[Record]:
    """So many records of each label, in turn."""
    return [Record({"text": f"{x} {n}"}, x) for x, count in counts.items() for n in range(count)]


def drawn(records: list[Record], count: int, salt: str = "a") -> tuple[Record, ...]:
    return draw_stratified(records, count, salt, lambda record: str(record.target))


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1),
    st.integers(1, 60),
)
def test_every_label_has_its_share(counts: dict[str, int], count: int) -> None:
    records = rows(counts)
    found = drawn(records, count)
    assert len(found) == min(count, len(records))
    assert list(found) == [record for record in records if record in found]
    have = Counter(str(record.target) for record in found)
    assert count < len(counts) or set(have) == set(counts)
    if count >= len(records):
        return
    for label, whole in counts.items():
        share = count * whole / len(records)
        # Within one of its share, less what labels of less than one row were given.
        small = sum(count * n < len(records) for n in counts.values())
        assert share - 1 - small < have[label] < share + 1


def test_the_order_of_the_file_changes_nothing() -> None:
    records = rows({"a": 20, "b": 12, "c": 3})
    assert set(map(id, drawn(records, 9))) == set(map(id, drawn(records[::-1], 9)))
    assert Counter(str(r.target) for r in drawn(records, 9)) == {"a": 5, "b": 3, "c": 1}
    assert drawn(records, 9) != drawn(records, 9, "b")


@pytest.mark.parametrize("count", [3, 2])
def test_few_places_go_to_labels_that_have_none(count: int) -> None:
    found = drawn(rows({"a": 90, "b": 5, "c": 5}), count)
    assert len({record.target for record in found}) == count
