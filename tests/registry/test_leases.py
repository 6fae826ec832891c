"""Two processes of which one stands still while the other does everything, at every point."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cuecard.errors import ConflictError, RegistryError
from cuecard.registry import PromptPackage, Registry
from cuecard.registry.gc import collect_garbage
from cuecard.registry.records import leases
from cuecard.registry.records.leases import COLLECTING, PENDING, lease, leased, relying_on
from cuecard.registry.stores.local import LocalStore
from cuecard.registry.stores.store import Store
from cuecard.registry.verify import verify

METHODS = ("create", "replace", "read", "names", "remove", "modified")
Act = Callable[[Registry], Any]


class Paused:
    """A store that calls something right before the n-th access."""

    def __init__(self, store: Store, at: int, then: Callable[[], None]) -> None:
        self._store, self._at, self._then = store, at, then
        self.accesses = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in METHODS:
            return found

        def access(*words: Any) -> Any:
            self.accesses += 1
            if self.accesses == self._at:
                self._then()
            return found(*words)

        return access


def meet(
    tmp_path: Path, prepare: Act, slow: Act, quick: Act, check: Callable[[Registry, str], None]
) -> set[str]:
    """Let `quick` happen at each point of `slow`; which of them were refused, over all points."""
    outcomes = set()
    for point in count(1):
        registry = Registry(tmp_path / str(point))
        prepare(registry)
        refused: list[str] = []

        def other(registry: Registry = registry, refused: list[str] = refused) -> None:
            try:
                quick(Registry(registry.store))
            except RegistryError:
                refused.append("quick")

        paused = Paused(registry.store, point, other)
        try:
            slow(Registry(paused))
        except RegistryError:
            refused.append("slow")
        if paused.accesses < point:
            assert point > 5
            return outcomes
        outcome = " and ".join(sorted(refused)) or "none"
        outcomes.add(outcome)
        check(registry, outcome)
    raise AssertionError("unreachable")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would wait for the other one, which stands still, gives up at once."""
    monkeypatch.setattr(leases, "WAIT_SECONDS", 0.0)


@pytest.fixture
def packages(prompts: list[Path]) -> list[PromptPackage]:
    return [PromptPackage.read(folder) for folder in prompts]


def with_unused_blobs(packages: list[PromptPackage]) -> Act:
    """Version 2 is deleted, so that its blobs wait for a collection."""

    def prepare(registry: Registry) -> None:
        registry.push(packages[0], "reviews")
        registry.push(packages[1], "reviews")
        registry.delete("reviews@2")

    return prepare


@pytest.mark.parametrize("slow", ["push", "collect"])
def test_a_push_of_what_is_being_collected(
    slow: str, packages: list[PromptPackage], tmp_path: Path
) -> None:
    digest = packages[1].prompt.digest

    def push(registry: Registry) -> None:
        assert registry.push(packages[1], "reviews").version.number == 3

    def gather(registry: Registry) -> None:
        collect_garbage(registry, grace=0)

    def check(registry: Registry, outcome: str) -> None:
        assert verify(registry).problems == []
        if len(registry.versions("reviews")) == 3:
            assert registry.read("reviews@3").prompt.digest == digest
        else:
            assert "push" in {"quick": [quick_name], "slow": [slow]}[outcome]
            push(registry)  # done again
            assert registry.read("reviews@3").prompt.digest == digest
        assert registry.store.names(PENDING) == registry.store.names(COLLECTING) == []

    acts = {"push": push, "collect": gather}
    quick_name = "collect" if slow == "push" else "push"
    outcomes = meet(tmp_path, with_unused_blobs(packages), acts[slow], acts[quick_name], check)
    # A collector that stands still while it may remove makes the push give up; never the reverse.
    assert outcomes == ({"none"} if slow == "push" else {"none", "quick"})


@pytest.mark.parametrize("slow", ["promote", "delete"])
def test_a_promotion_of_what_is_being_deleted(
    slow: str, packages: list[PromptPackage], tmp_path: Path
) -> None:
    def prepare(registry: Registry) -> None:
        registry.push(packages[0], "reviews")
        registry.push(packages[1], "reviews")
        registry.promote("reviews@1", "production")

    def check(registry: Registry, outcome: str) -> None:
        assert outcome != "none"  # one of them has to give way
        collect_garbage(registry, grace=0)
        assert verify(registry).problems == []
        current = registry.resolve("reviews@production")
        assert not current.deleted
        registry.read(current)

    acts: dict[str, Act] = {
        "promote": lambda registry: registry.promote("reviews@2", "production"),
        "delete": lambda registry: registry.delete("reviews@2"),
    }
    quick = "delete" if slow == "promote" else "promote"
    outcomes = meet(tmp_path, prepare, acts[slow], acts[quick], check)
    assert {"quick", "slow"} <= outcomes


@pytest.mark.parametrize("same", [False, True])
def test_two_pushes(same: bool, packages: list[PromptPackage], tmp_path: Path) -> None:
    second = packages[1] if same else packages[2]

    def check(registry: Registry, outcome: str) -> None:
        assert outcome == "none"
        found = [version.record.digest for version in registry.versions("reviews")]
        assert len(found) == (2 if same else 3)
        assert set(found[1:]) == {packages[1].prompt.digest, second.prompt.digest}
        assert verify(registry).problems == []

    meet(
        tmp_path,
        lambda registry: registry.push(packages[0], "reviews"),
        lambda registry: registry.push(packages[1], "reviews"),
        lambda registry: registry.push(second, "reviews"),
        check,
    )


def test_two_promotions(packages: list[PromptPackage], tmp_path: Path) -> None:
    def prepare(registry: Registry) -> None:
        for each in packages[:3]:
            registry.push(each, "reviews")
        registry.promote("reviews@1", "production")

    def check(registry: Registry, outcome: str) -> None:
        assert outcome == "none"
        moves = [event.after for event in registry.log("reviews", "production")]
        assert moves in ([1, 2, 3], [1, 3, 2])

    meet(
        tmp_path,
        prepare,
        lambda registry: registry.promote("reviews@2", "production"),
        lambda registry: registry.promote("reviews@3", "production"),
        check,
    )


def test_a_killed_collector_counts_for_a_day(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    blob = "ab" * 32
    with lease(store, COLLECTING, [blob]) as held:
        now = held.written
        assert leased(store, COLLECTING, now + 23 * 3600) == {blob}
        assert leased(store, COLLECTING, now + 25 * 3600) == set()
        with (
            pytest.raises(ConflictError, match="garbage collection is running"),
            relying_on(store, [blob]),
        ):
            pytest.fail("it may be removed at any time")
        with relying_on(store, ["cd" * 32]):
            pass  # another blob is no matter


def test_a_lease_that_is_not_valid_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    with lease(store, PENDING, []) as held:
        held.check()
        (name,) = store.names(PENDING)
        store.remove(f"{PENDING}/{name}")
        with pytest.raises(ConflictError, match="nothing was published"):
            held.check()
    with lease(store, PENDING, []) as held:
        monkeypatch.setattr(leases, "HOLD_SECONDS", -1.0)
        with pytest.raises(ConflictError, match="nothing was published"):
            held.check()
