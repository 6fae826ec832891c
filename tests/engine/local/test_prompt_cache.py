"""What is in use stays; of the rest, what was used longest ago goes first."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from cuecard.engine.local.prompt_cache import Key, PromptCache

A: Key = ("a", ())
A_BEHIND: Key = ("a", (1, 2))
B: Key = ("b", ())
C: Key = ("c", ())


def some(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.uint8)


def filled(capacity: int, *keys: Key) -> PromptCache:
    cache = PromptCache(capacity)
    for key in keys:
        assert cache.promise(key, 10)
        cache.put(key, some(10))
        cache.unpin(key)
    return cache


def test_the_least_recently_used_goes_first() -> None:
    cache = filled(20, A, B)
    assert cache.pin(A)
    cache.unpin(A)
    cache.put(C, some(10))
    assert (A in cache, B in cache, C in cache) == (True, False, True)
    assert (cache.nbytes, cache.hits, cache.misses, cache.evictions) == (20, 1, 2, 1)


def test_what_is_in_use_stays() -> None:
    cache = filled(20, A, B)
    cache.pin(A)
    cache.pin(A)
    cache.put(C, some(10))
    cache.put(B, some(10))
    assert A in cache and C not in cache
    cache.unpin(A)
    assert cache.pinned == 10
    cache.put(C, some(15))
    assert (A in cache, B in cache, C in cache) == (True, False, False)  # C does not fit beside A
    cache.unpin(A)
    assert cache.pinned == 0


def test_room_is_promised_to_one_after_the_other() -> None:
    cache = PromptCache(15)
    assert cache.promise(A, 10)
    assert cache.is_promised(A) and cache.pinned == 10
    assert not cache.promise(B, 10)
    cache.put(A, some(10))
    assert not cache.is_promised(A)
    cache.unpin(A)
    assert cache.promise(B, 10)
    cache.unpin(B)  # it came to nothing
    assert not cache.is_promised(B) and cache.pinned == 0


def test_what_is_larger_than_the_cache_is_used_and_gone() -> None:
    cache = PromptCache(5)
    assert cache.promise(A, 10)
    cache.put(A, some(10))
    assert A in cache
    cache.unpin(A)
    assert A not in cache


def test_forgetting_a_prompt_leaves_the_others() -> None:
    cache = filled(100, A, A_BEHIND, B)
    cache.pin(A_BEHIND)
    cache.forget("a")
    assert (A in cache, A_BEHIND in cache, B in cache) == (False, True, True)
    assert not cache.pin(A)
    assert len(cache) == 2


def test_what_is_counted_is_what_is_there() -> None:
    """Anything in any order: bytes are those of what can be pinned, and none are left pinned."""
    cache, chance = PromptCache(120), random.Random(3)
    keys: list[Key] = [(name, ()) for name in "abcdefgh"]
    held: list[Key] = []
    sizes: dict[Key, int] = {}
    for _ in range(2000):
        key, size = chance.choice(keys), chance.randrange(1, 40)
        if cache.is_promised(key) or not cache.pin(key):
            if not cache.is_promised(key) and cache.promise(key, size):
                held.append(key)
            if cache.is_promised(key) and chance.random() < 0.7:
                sizes[key] = size
                cache.put(key, some(size))
        else:
            held.append(key)
        while held and chance.random() < 0.55:
            cache.unpin(held.pop(chance.randrange(len(held))))
        cache.forget(chance.choice("abcdefgh") if chance.random() < 0.1 else "")
        assert cache.nbytes == sum(sizes[key] for key in keys if key in cache)
        in_use = sum(sizes[key] for key in set(held) if key in cache)
        assert cache.pinned >= in_use and (cache.nbytes <= 120 or cache.nbytes == in_use)
    for key in held:
        cache.unpin(key)
    assert cache.pinned == 0 and cache.evictions > 50
