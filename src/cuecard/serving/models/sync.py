"""Keeps the catalog in sync with a registry: pushes, promotions, rollbacks and deletions.

A prompt is served once its files are verified, the engine accepts it, and it reproduces the scores
saved with it. What cannot be determined at the moment stays as it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cuecard.errors import CuecardError
from cuecard.registry import Registry, Version
from cuecard.registry.watch import Listing, NameListing, RegistryWatch
from cuecard.serving.logs import JsonLog
from cuecard.serving.models.catalog import NameEntry, PromptCatalog, ServedPrompt
from cuecard.serving.models.disk_cache import CachedName, DiskCache
from cuecard.serving.models.loader import LoadFailure, VersionLoader
from cuecard.serving.models.registry_state import RegistryState
from cuecard.serving.settings import ServedVersions

_NAME_OF_BACKBONE = "this is the name of the backbone, which takes precedence"
Loaded = Mapping[tuple[str, int], ServedPrompt | LoadFailure]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of a name's versions: they stay, are loaded now, or are loaded later."""

    kept: Mapping[int, ServedPrompt]
    now: Sequence[Version]
    later: frozenset[int]


class RegistrySync:
    """Updates a catalog from a registry.

    Args:
        registry: the source.
        catalog: the catalog to update.
        cache: where the catalog is saved, for a start without the registry.
        log: gets a line for every change.
        clock: monotonic seconds, for ages and retries.
        trusted: public keys (`read_trusted`); only versions signed by one of them are served.
        versions: which are served: all, or those that an alias points at. The records of others
            are not read then.
    """

    def __init__(
        self,
        registry: Registry,
        catalog: PromptCatalog,
        cache: DiskCache,
        log: JsonLog,
        clock: Callable[[], float] = time.monotonic,
        trusted: Sequence[str] = (),
        versions: ServedVersions = "all",
    ) -> None:
        self.state = RegistryState(registry.store.url)
        self._watch = RegistryWatch(registry, clock, aliased_only=versions == "aliases")
        self._aliased_only = versions == "aliases"
        self._loader = VersionLoader(registry, self.state, catalog, cache, clock, trusted)
        self._catalog = catalog
        self._cache = cache
        self._log = log
        self._clock = clock
        self._problems: dict[str, str] = {}
        self._listed: dict[str, NameListing] = {}
        self._started = False

    async def start(self) -> None:
        """Serve the registry's prompts, or those served last if it is unreachable.

        Returns once each name's aliases and newest version are loaded, aliases first; `run` loads
        the others.

        Raises:
            RegistryError: no registry, and nothing cached from an earlier run.
        """
        try:
            await self._start()
        finally:
            self._started = True

    async def _start(self) -> None:
        cached = await asyncio.to_thread(self._cache.load)
        if cached is not None:
            self._watch.remember(cached.identity, cached.names)
        try:
            await self._sync()
        except CuecardError as error:
            self._record_failure(error)
            if cached is None:
                raise
            self._catalog.replace(await self._load_cached(cached.names))
            return
        if cached is not None and (unread := self._problems.keys() & cached.names.keys()):
            loaded = await self._load_cached({name: cached.names[name] for name in unread})
            self._catalog.replace({**self._catalog.entries, **loaded})

    async def poll(self) -> None:
        """Poll once, and serve what has changed."""
        try:
            await self._sync()
            await self._catalog.drop_unused()
        except CuecardError as error:
            self._record_failure(error)
        except Exception as error:  # noqa: BLE001 - keep polling; readiness reports it
            self._log.failure("sync", error)
            self._record_failure(CuecardError(f"internal error: {type(error).__name__}"))

    async def run(self, seconds: float) -> None:
        """Poll at an interval; in between, load the versions that no alias points at."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + seconds
            while loop.time() < due and await self._load_next():
                pass
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self.poll()

    def _record_failure(self, error: CuecardError) -> None:
        self.state.polls += 1
        self.state.failures += 1
        self.state.reachable = False
        self.state.problem = error.what

    async def _sync(self) -> None:
        listing = await asyncio.to_thread(self._watch.poll, self._unsettled())
        try:
            await self._apply(listing)
        except BaseException:
            self._watch.invalidate()
            raise
        self.state.polls += 1
        self.state.reachable, self.state.problem = True, None
        self.state.seen = self._clock()
        self.state.name_problems = dict(self._problems)
        if listing.names or self.state.cache_problem:
            await self._save()

    async def _apply(self, listing: Listing) -> None:
        before = self._catalog.entries
        readable = {
            name: found
            for name, found in listing.names.items()
            if isinstance(found, NameListing) and name != self._catalog.backbone
        }
        built = await self._build_entries(readable)
        self._listed |= readable
        changed: dict[str, NameEntry] = {}
        for name, found in listing.names.items():
            if name in built:
                self._problems.pop(name, None)
                changed[name] = built[name]
                continue
            if name == self._catalog.backbone or isinstance(found, NameListing):
                self._problems[name] = _NAME_OF_BACKBONE
                continue
            self._problems[name] = found.what
            if name in before and before[name].prompts:
                changed[name] = before[name]
        if listing.complete:
            self._problems = {n: why for n, why in self._problems.items() if n in listing.names}
            self._serve(changed)
        elif changed:
            self._serve({**before, **changed})

    def _unsettled(self) -> set[str]:
        """The names to read again even if nothing was written."""
        return set(self._problems) | {
            name for name, entry in self._catalog.entries.items() if entry.broken or entry.lost
        }

    async def _load_next(self) -> bool:
        """Load one version that no alias points at; False if none is left, or it failed."""
        waiting = [(name, entry) for name, entry in self._catalog.entries.items() if entry.loading]
        if not waiting:
            return False
        name, entry = waiting[0]
        number = max(entry.loading)
        version = self._listed[name].versions[number]
        try:
            loaded = await self._loader.load(name, version)
        except CuecardError as error:  # the engine failed; the next poll reports it too
            self._record_failure(error)
            return False
        except Exception as error:  # noqa: BLE001 - as in `poll`
            self._log.failure("sync", error)
            return False
        versions, refused, broken = dict(entry.versions), dict(entry.refused), dict(entry.broken)
        if isinstance(loaded, ServedPrompt):
            versions[number] = loaded
        else:
            (refused if loaded.permanent else broken)[number] = loaded.why
        done = replace(
            entry,
            versions=versions,
            refused=refused,
            broken=broken,
            loading=entry.loading - {number},
        )
        self._serve({**self._catalog.entries, name: done})
        if not done.loading:
            await self._save()
        return True

    def _serve(self, entries: Mapping[str, NameEntry]) -> None:
        self._log_changes(self._catalog.entries, entries)
        self._catalog.replace(entries)

    def _log_changes(self, before: Mapping[str, NameEntry], now: Mapping[str, NameEntry]) -> None:
        old, new = _summary(before), _summary(now)
        changed = {
            key: new.get(key) for key in old.keys() | new.keys() if old.get(key) != new.get(key)
        }
        if changed:
            self._log.write(
                "prompts", changed={key: changed[key] or "gone" for key in sorted(changed)}
            )

    async def _save(self) -> None:
        try:
            await asyncio.to_thread(self._cache.save, self._catalog.entries, self._watch.identity)
            self.state.cache_problem = None
        except OSError as error:
            self.state.cache_problem = error.strerror or str(error)

    async def _build_entries(self, listed: Mapping[str, NameListing]) -> dict[str, NameEntry]:
        """The names' new entries. What is new is loaded first, of all names together."""
        before = {name: self._catalog.entries.get(name, NameEntry()) for name in listed}
        plans = {name: self._plan(found, before[name]) for name, found in listed.items()}
        now = [(name, version) for name, plan in plans.items() for version in plan.now]
        aliased = {(name, n) for name, found in listed.items() for n in found.aliases.values()}
        now.sort(key=lambda each: (each[0], each[1].number) not in aliased)
        loaded = await self._loader.load_all(now)
        return {
            name: _build_entry(name, found, before[name], plans[name], loaded)
            for name, found in listed.items()
        }

    def _plan(self, listed: NameListing, before: NameEntry) -> _Plan:
        """At the start, versions without an alias, except the newest, are left to `_load_next`."""
        first = {*listed.aliases.values(), max(listed.versions, default=0)}
        known = {served.number: served for served in before.prompts}
        kept = {
            number: known[number]
            for number, version in listed.versions.items()
            if number in known and known[number].content == version.record.content
        }
        later = frozenset(
            number
            for number, version in listed.versions.items()
            if number not in first.union(kept)
            and (number in before.loading or not self._started)
            and not self._loader.has_failed(version)
        )
        wanted = listed.versions.keys() - kept.keys() - later
        return _Plan(kept, [listed.versions[number] for number in sorted(wanted)], later)

    async def _load_cached(self, known: Mapping[str, CachedName]) -> dict[str, NameEntry]:
        """What was served last, as far as the cache has it."""
        return {name: await self._cached_entry(name, each) for name, each in known.items()}

    async def _cached_entry(self, name: str, each: CachedName) -> NameEntry:
        listed = {version.number: version for version in each.versions}
        aliased = {version.number: version for version in each.aliases.values()}
        found: dict[int, ServedPrompt] = {}
        broken: dict[int, str] = {}
        wanted = aliased if self._aliased_only else listed | aliased
        for number, version in wanted.items():
            loaded = await self._loader.load_cached(name, version)
            if isinstance(loaded, ServedPrompt):
                found[number] = loaded
            else:
                broken[number] = loaded.why
        return NameEntry(
            {number: served for number, served in found.items() if number in listed},
            {a: found[e.number] for a, e in each.aliases.items() if e.number in found},
            {},
            broken,
            {a: e.number for a, e in each.aliases.items() if e.number not in found},
            unserved=frozenset(listed.keys() - wanted.keys()),
        )


def _build_entry(
    name: str, listed: NameListing, before: NameEntry, plan: _Plan, loaded: Loaded
) -> NameEntry:
    """A name's new entry; an alias whose new target cannot answer keeps its old one."""
    versions = dict(plan.kept)
    refused: dict[int, str] = {}
    broken: dict[int, str] = dict(listed.unreadable)
    for version in plan.now:
        found = loaded[name, version.number]
        if isinstance(found, ServedPrompt):
            versions[version.number] = found
        else:
            (refused if found.permanent else broken)[version.number] = found.why
    aliases: dict[str, ServedPrompt] = {}
    lost: dict[str, int] = {}
    for alias, number in listed.aliases.items():
        if number in versions:
            aliases[alias] = versions[number]
        else:
            lost[alias] = number
            if alias in before.aliases:
                aliases[alias] = before.aliases[alias]
    return NameEntry(versions, aliases, refused, broken, lost, plan.later, listed.unaliased)


def _summary(entries: Mapping[str, NameEntry]) -> dict[str, str]:
    """Reference -> the version or digest that answers, or why none does."""
    found: dict[str, str] = {}
    for name, each in entries.items():
        found |= {f"{name}@{alias}": str(served) for alias, served in each.aliases.items()}
        found |= {str(served): served.held.digest for served in each.versions.values()}
        for number, why in (*each.refused.items(), *each.broken.items()):
            found[f"{name}@{number}"] = why
    return found
