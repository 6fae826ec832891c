"""Shares of work: together they are all of it, each item once."""

from __future__ import annotations

import pytest

from cuecard.errors import ConfigError
from cuecard.shards import Shard


@pytest.mark.parametrize("items", [0, 1, 2, 7, 8, 9, 1000])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shards_together_are_all_items_once(items: int, count: int) -> None:
    shards = [Shard(index, count) for index in range(count)]
    assert [n for one in shards for n in range(items)[one.block(items)]] == [*range(items)]
    assert sorted(n for one in shards for n in one.dealt(items)) == [*range(items)]
    for sizes in (
        [len(range(items)[one.block(items)]) for one in shards],
        [len(one.dealt(items)) for one in shards],
    ):
        assert max(sizes) - min(sizes) <= 1


def test_cost_that_grows_with_the_place_is_shared_out() -> None:
    """Two axes of two and four values, the second one's cost 1, 2, 3, 4."""
    costs = [1, 2, 3, 4] * 2
    assert [sum(costs[n] for n in Shard(i, 4).dealt(8)) for i in range(4)] == [5, 5, 5, 5]
    assert Shard(1, 4).dealt(10) == (1, 6, 9)


@pytest.mark.parametrize("text", ["4/4", "1", "1/0", "-1/4", "1/4/2", "a/b", " 1/4", "1/", ""])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--shard.*\n.*INDEX/COUNT|not a shard") as refused:
        Shard.parse(text)
    assert refused.value.got == text


def test_as_text() -> None:
    assert Shard.parse("3/4") == Shard(3, 4) and str(Shard(3, 4)) == "3/4"
