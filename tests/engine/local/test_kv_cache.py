"""Who computes a prefix that several contexts share, and who waits."""

from __future__ import annotations

import pytest
import torch

from cuecard.engine.local.kv_cache import KVCacheManager
from cuecard.engine.local.requests import SequenceState
from cuecard.engine.local.settings import LocalSettings

LONG, SHORT = tuple(range(200)), tuple(range(20))


def sequence(prefix: tuple[int, ...], last: int) -> SequenceState:
    return SequenceState(0, None, (*prefix, last, 0))


def computing(prefix: tuple[int, ...]) -> tuple[KVCacheManager, SequenceState]:
    """A cache whose third context computes the prefix."""
    cache = KVCacheManager(LocalSettings(), token_bytes=8)
    three = [sequence(prefix, last) for last in (301, 302, 303)]
    assert [cache.pin_prefix(each, prompt_runs=False) for each in three] == [True] * 3
    assert [each.to_cache for each in three] == [(), (), prefix]
    return cache, three[-1]


def store(cache: KVCacheManager, owner: SequenceState) -> None:
    cache.store_prefix(owner, torch.zeros(1, 2, 1, len(owner.to_cache), 1))


def test_others_wait_until_it_is_there() -> None:
    cache, owner = computing(LONG)
    others = [sequence(LONG, last) for last in (304, 305)]
    for _ in range(3):  # however often they are asked
        assert [cache.pin_prefix(each, prompt_runs=False) for each in others] == [False, False]
    store(cache, owner)
    assert owner.to_cache == ()
    assert [cache.pin_prefix(each, prompt_runs=False) for each in others] == [True, True]
    assert [each.cached for each in others] == [200, 200] and cache.reused == 400


def test_where_it_is_given_up_the_next_one_computes_it() -> None:
    cache, owner = computing(LONG)
    other = sequence(LONG, 304)
    assert not cache.pin_prefix(other, prompt_runs=False)
    cache.free(owner)
    assert cache.pin_prefix(other, prompt_runs=False)
    assert other.to_cache == LONG and other.cached == 0


@pytest.mark.parametrize(("prefix", "prompt_runs"), [(SHORT, False), (LONG, True)])
def test_what_is_not_worth_it_does_not_wait(prefix: tuple[int, ...], prompt_runs: bool) -> None:
    cache, _ = computing(prefix)
    other = sequence(prefix, 304)
    assert cache.pin_prefix(other, prompt_runs=prompt_runs)
    assert other.to_cache == () and other.cached == 0
