"""Keeps the catalog in sync with a registry: pushes, promotions, rollbacks and deletions.

A prompt is served once its files are verified, the engine accepts it, and it reproduces the scores
saved with it. What cannot be determined at the moment stays as it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from cuecard.engine.protocol import Engine, Held
from cuecard.errors import (
    ConfigError,
    CuecardError,
    EngineError,
    SignatureError,
    WrongBackboneError,
)
from cuecard.registry import PromptPackage, Registry, Version
from cuecard.registry.signing import check_signed
from cuecard.registry.watch import Listing, NameListing, RegistryWatch
from cuecard.serving.logs import JsonLog
from cuecard.serving.models.answer_check import check_answers
from cuecard.serving.models.catalog import NameEntry, PromptCatalog, ServedPrompt
from cuecard.serving.models.disk_cache import CachedName, CachedVersion, DiskCache

_RETRY_SECONDS = 15.0


@dataclass(slots=True)
class RegistryState:
    """The state of the connection to the registry.

    Attributes:
        url: the registry's URL.
        reachable: whether the last poll succeeded.
        problem: why it failed.
        seen: monotonic time of the last successful poll; None if there was none.
        polls, failures: how many polls there were, and how many of them failed.
        cache_problem: why the disk cache cannot be written.
        name_problems: name -> why its versions cannot be listed.
    """

    url: str
    reachable: bool = False
    problem: str | None = None
    seen: float | None = None
    polls: int = 0
    failures: int = 0
    cache_problem: str | None = None
    name_problems: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a version cannot answer, whether permanently, and when it was tried."""

    why: str
    permanent: bool
    at: float


class RegistrySync:
    """Updates a catalog from a registry.

    Args:
        registry: the source.
        catalog: the catalog to update.
        engine: runs the prompts.
        cache: where the catalog is saved, for a start without the registry.
        log: gets a line for every change.
        clock: monotonic seconds, for ages and retries.
        trusted: public keys (`read_trusted`); only versions signed by one of them are served.
    """

    def __init__(
        self,
        registry: Registry,
        catalog: PromptCatalog,
        engine: Engine,
        cache: DiskCache,
        log: JsonLog,
        clock: Callable[[], float] = time.monotonic,
        trusted: Sequence[str] = (),
    ) -> None:
        self.state = RegistryState(registry.store.url)
        self._registry = registry
        self._watch = RegistryWatch(registry, clock)
        self._catalog = catalog
        self._engine = engine
        self._cache = cache
        self._log = log
        self._clock = clock
        self._trusted = tuple(trusted)
        self._failed: dict[str, _Failure] = {}
        self._signed: set[str] = set()
        self._problems: dict[str, str] = {}
        self._listed: dict[str, NameListing] = {}
        self._started = False

    async def start(self) -> None:
        """Serve the registry's prompts, or those served last if it is unreachable.

        Returns once each name's aliases and newest version are loaded; `run` loads the others.

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
        changed: dict[str, NameEntry] = {}
        for name, found in listing.names.items():
            was = before.get(name, NameEntry())
            problem = found.what if isinstance(found, CuecardError) else None
            if name == self._catalog.backbone:
                problem = "this is the name of the backbone, which takes precedence"
            if isinstance(found, NameListing) and problem is None:
                self._problems.pop(name, None)
                self._listed[name] = found
                changed[name] = await self._build_entry(name, found, was)
            else:
                self._problems[name] = problem or ""
                if was.prompts and name != self._catalog.backbone:
                    changed[name] = was
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
            loaded = await self._load_version(name, version)
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

    async def _build_entry(self, name: str, listed: NameListing, before: NameEntry) -> NameEntry:
        """A name's new entry; an alias whose new target cannot answer keeps its old one.

        At the start, versions without an alias, except the newest, are left to `_load_next`.
        """
        first = {*listed.aliases.values(), max(listed.versions, default=0)}
        known = {served.number: served for served in before.prompts}
        versions: dict[int, ServedPrompt] = {}
        refused: dict[int, str] = {}
        broken: dict[int, str] = dict(listed.unreadable)
        loading: set[int] = set()
        for number, version in listed.versions.items():
            if number in known and known[number].content == version.record.content:
                versions[number] = known[number]
                continue
            later = number in before.loading or not self._started
            if later and number not in first and not self._has_failed(version):
                loading.add(number)
                continue
            loaded = await self._load_version(name, version)
            if isinstance(loaded, ServedPrompt):
                versions[number] = loaded
            else:
                (refused if loaded.permanent else broken)[number] = loaded.why
        aliases: dict[str, ServedPrompt] = {}
        lost: dict[str, int] = {}
        for alias, number in listed.aliases.items():
            if number in versions:
                aliases[alias] = versions[number]
            else:
                lost[alias] = number
                if alias in before.aliases:
                    aliases[alias] = before.aliases[alias]
        return NameEntry(versions, aliases, refused, broken, lost, frozenset(loading))

    def _has_failed(self, version: Version) -> bool:
        failed = self._failed.get(version.record.content)
        return failed is not None and self._holds(failed)

    def _holds(self, failed: _Failure) -> bool:
        """Whether it is too early for another try."""
        return failed.permanent or self._clock() - failed.at < _RETRY_SECONDS

    async def _load_version(self, name: str, version: Version) -> ServedPrompt | _Failure:
        record = version.record
        entry = CachedVersion(
            number=version.number, content=record.content, created=_seconds(record.at)
        )
        try:
            await asyncio.to_thread(self._check_signed, version)
        except SignatureError as error:
            return _Failure(error.what, True, self._clock())
        except CuecardError as error:
            return _Failure(error.what, False, self._clock())
        return await self._load(name, entry, partial(self._registry.read, version))

    def _check_signed(self, version: Version) -> None:
        """Verify, once per version, that a trusted key has signed it."""
        if self._trusted and version.sha256 not in self._signed:
            check_signed(self._registry.store, version, self._trusted)
            self._signed.add(version.sha256)

    async def _load_cached(self, known: Mapping[str, CachedName]) -> dict[str, NameEntry]:
        """What was served last, as far as the cache has it."""
        entries: dict[str, NameEntry] = {}
        for name, each in known.items():
            versions = {one.number: one for one in (*each.versions, *each.aliases.values())}
            found: dict[int, ServedPrompt] = {}
            broken: dict[int, str] = {}
            for number, version in versions.items():
                loaded = await self._load(name, version, None)
                if isinstance(loaded, ServedPrompt):
                    found[number] = loaded
                else:
                    broken[number] = loaded.why
            listed = {version.number for version in each.versions}
            entries[name] = NameEntry(
                {number: served for number, served in found.items() if number in listed},
                {a: found[e.number] for a, e in each.aliases.items() if e.number in found},
                {},
                broken,
                {a: e.number for a, e in each.aliases.items() if e.number not in found},
            )
        return entries

    async def _load(
        self, name: str, entry: CachedVersion, read: Callable[[], PromptPackage] | None
    ) -> ServedPrompt | _Failure:
        """A version, verified and loaded into the engine; a failure is remembered for a while.

        Args:
            read: fetches it from the registry; None: from the cache only.
        """
        failed = self._failed.get(entry.content)
        if failed and self._holds(failed):
            return failed
        try:
            package = await asyncio.to_thread(self._package, entry.content, read)
            served = _served(name, entry, package)
            await asyncio.to_thread(self._engine.refuses, package.prompt)
            await self._load_into_engine(served)
        except EngineError:
            raise
        except CuecardError as error:
            permanent = isinstance(error, WrongBackboneError | ConfigError)
            failure = _Failure(error.what, permanent, self._clock())
            self._failed[entry.content] = failure
            return failure
        self._failed.pop(entry.content, None)
        return served

    async def _load_into_engine(self, served: ServedPrompt) -> None:
        await self._engine.hold(served.held)
        try:
            await check_answers(self._engine, served)
        except CuecardError:
            self._catalog.release(served.held.digest)
            raise

    def _package(self, content: str, read: Callable[[], PromptPackage] | None) -> PromptPackage:
        cached = self._cache.get(content)
        if cached is not None:
            return cached
        if read is None:
            raise CuecardError("it is not in the cache", where=str(self._cache.folder(content)))
        package = read()
        try:
            self._cache.put(package, content)
        except CuecardError as error:
            self.state.cache_problem = error.what
        return package


def _served(name: str, entry: CachedVersion, package: PromptPackage) -> ServedPrompt:
    prompt = package.prompt
    return ServedPrompt(
        name,
        entry.number,
        entry.content,
        entry.created,
        prompt,
        Held(prompt.digest, prompt.injection()),
        prompt.spec,
    )


def _seconds(at: str) -> int:
    try:
        return int(datetime.fromisoformat(at).timestamp())
    except (ValueError, OverflowError):
        return 0


def _summary(entries: Mapping[str, NameEntry]) -> dict[str, str]:
    """Reference -> the version or digest that answers, or why none does."""
    found: dict[str, str] = {}
    for name, each in entries.items():
        found |= {f"{name}@{alias}": str(served) for alias, served in each.aliases.items()}
        found |= {str(served): served.held.digest for served in each.versions.values()}
        for number, why in (*each.refused.items(), *each.broken.items()):
            found[f"{name}@{number}"] = why
    return found
