from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cuecard.errors import ConfigError
from cuecard.tasks.encoding.batching import batches_by_length, collate, ordered_batches
from cuecard.types import Encoded, Placement

LENGTHS = st.lists(st.integers(1, 300), max_size=300)
ROWS = st.integers(1, 20)
BUDGET = st.none() | st.integers(1, 2000)


def row(context: list[int], slot: int = 0) -> Encoded:
    return Encoded(tuple(context), (), Placement.at(slot))


def test_targets_reads_every_token_of_the_continuation() -> None:
    batch = collate([(row([5, 6, 7], 3), [8, 9]), (row([5]), [4])], pad_id=1)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [5, 1, 1, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert batch.slot.tolist() == [3, 0]
    assert batch.read_rows.tolist() == [0, 0, 1]
    assert batch.read_at.tolist() == [3, 4, 1]
    assert batch.target_ids.tolist() == [8, 9, 4]
    parts = (getattr(batch, name) for name in batch.__slots__)
    assert {part.dtype for part in parts if isinstance(part, torch.Tensor)} == {torch.int64}
    assert batch.slots.shape == (2, 1) and batch.sizes == ()


def test_next_reads_once_after_the_context() -> None:
    batch = collate([(row([5, 6]), [8, 9]), (row([7], 1), [])], read="next")
    assert batch.input_ids.tolist() == [[5, 6], [7, 0]]
    assert batch.read_rows.tolist() == [0, 1]
    assert batch.read_at.tolist() == [2, 1]
    assert batch.target_ids.tolist() == [-100, -100]


def test_a_batch_needs_rows_tokens_and_something_to_read() -> None:
    with pytest.raises(ConfigError, match="needs rows"):
        collate([])
    with pytest.raises(ConfigError, match="nothing to read"):
        collate([(row([1]), [])])
    with pytest.raises(ConfigError, match="no tokens"):
        collate([(row([]), [1])])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 99), min_size=1, max_size=9),
            st.lists(st.integers(0, 99), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_read_is_where_its_token_would_stand(rows: list[tuple[list[int], list[int]]]) -> None:
    batch = collate([(row(context), target) for context, target in rows])
    whole = [context + target for context, target in rows]
    reads = zip(
        batch.read_rows.tolist(), batch.read_at.tolist(), batch.target_ids.tolist(), strict=True
    )
    assert all(whole[index][at] == token for index, at, token in reads)
    assert batch.attention_mask.sum(1).tolist() == [len(ids) - 1 for ids in whole]


@given(LENGTHS, ROWS, BUDGET, st.integers(0, 9), st.integers(0, 9))
def test_an_epoch_has_every_row_once_within_the_limits(
    lengths: list[int], rows: int, budget: int | None, seed: int, epoch: int
) -> None:
    for batches in (
        batches_by_length(lengths, rows, budget, seed, epoch),
        ordered_batches(lengths, rows, budget),
    ):
        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        for batch in batches:
            assert 0 < len(batch) <= rows
            cost = len(batch) * max(lengths[index] for index in batch)
            assert budget is None or cost <= budget or len(batch) == 1


def test_an_epochs_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = [(index * 7) % 50 + 1 for index in range(200)]
    first = batches_by_length(lengths, 8, None, 3, 0)
    assert first == batches_by_length(lengths, 8, None, 3, 0)
    assert first != batches_by_length(lengths, 8, None, 3, 1)
    assert first != batches_by_length(lengths, 8, None, 4, 0)


def test_grouping_by_length_saves_most_of_the_padding() -> None:
    lengths = [(index * 37) % 101 + 1 for index in range(512)]
    batches = batches_by_length(lengths, 16, None, 0, 0)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded < 1.15 * sum(lengths)


def test_evaluation_goes_from_long_to_short() -> None:
    assert ordered_batches([2, 9, 5, 9], 2) == [[1, 3], [2, 0]]


@pytest.mark.parametrize(("rows", "budget"), [(0, None), (4, 0)])
def test_limits_must_be_positive(rows: int, budget: int | None) -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        ordered_batches([1], rows, budget)
