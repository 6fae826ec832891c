"""Follows a registry: what is pushed, promoted, rolled back or deleted there is served so here.

Nothing is served before every byte is checked, the engine accepts it, and it gives the scores there
that were saved with it. What cannot be told just now stays as it was.
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
from cuecard.registry import Contents, Registry, Version
from cuecard.registry.signing import check_signed
from cuecard.registry.watch import Listed, Listing, RegistryReader
from cuecard.serving.logs import JsonLog
from cuecard.serving.models.catalog import Served, Shelf, Shown
from cuecard.serving.models.checks import check_answers
from cuecard.serving.models.disk_cache import KnownName, KnownVersion, LastKnownGood

_RETRY_SECONDS = 15.0


@dataclass(slots=True)
class RegistryState:
    """How it stands with the registry.

    Attributes:
        url: what it is called.
        reachable: whether the last look succeeded.
        problem: why it did not.
        seen: when it last did, by a clock that nobody sets; None if never.
        looks, failures: how many there were.
        cache_problem: why the last known good cannot be written.
        name_problems: name -> why what it has cannot be told.
    """

    url: str
    reachable: bool = False
    problem: str | None = None
    seen: float | None = None
    looks: int = 0
    failures: int = 0
    cache_problem: str | None = None
    name_problems: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a version cannot answer, whether for good, and when it was tried."""

    why: str
    final: bool
    at: float


class Follower:
    """Keeps a shelf like a registry.

    Args:
        registry: what to follow.
        shelf: what to fill.
        engine: what the prompts have to fit.
        cache: where what was served is kept for a start without the registry.
        log: told what changes.
        clock: tells how long ago something was, and when to try again.
        trusted: public keys (`read_trusted`); only versions that one of them has signed are served.
    """

    def __init__(
        self,
        registry: Registry,
        shelf: Shelf,
        engine: Engine,
        cache: LastKnownGood,
        log: JsonLog,
        clock: Callable[[], float] = time.monotonic,
        trusted: Sequence[str] = (),
    ) -> None:
        self.state = RegistryState(registry.store.url)
        self._registry = registry
        self._reader = RegistryReader(registry, clock)
        self._shelf = shelf
        self._engine = engine
        self._cache = cache
        self._log = log
        self._clock = clock
        self._trusted = tuple(trusted)
        self._failed: dict[str, _Failure] = {}
        self._signed: set[str] = set()
        self._problems: dict[str, str] = {}
        self._listed: dict[str, Listed] = {}
        self._started = False

    async def start(self) -> None:
        """Serve what the registry has, or else what was served last.

        Ready as soon as each name's aliases and newest version are; `run` loads the other versions.

        Raises:
            RegistryError: there is no registry, and nothing was ever served from it.
        """
        try:
            await self._start()
        finally:
            self._started = True

    async def _start(self) -> None:
        known = await asyncio.to_thread(self._cache.load)
        if known is not None:
            self._reader.remember(known.identity, known.names)
        try:
            await self._follow()
        except CuecardError as error:
            self._note(error)
            if known is None:
                raise
            self._shelf.replace(await self._remembered(known.names))
            return
        if known is not None and (unread := self._problems.keys() & known.names.keys()):
            remembered = await self._remembered({name: known.names[name] for name in unread})
            self._shelf.replace({**self._shelf.shown, **remembered})

    async def poll(self) -> None:
        """Look once, and serve what has changed."""
        try:
            await self._follow()
            await self._shelf.drop_unused()
        except CuecardError as error:
            self._note(error)
        except Exception as error:  # noqa: BLE001 - a follower that ends is a server that lies
            self._log.failure("follower", error)
            self._note(CuecardError(f"a fault of the server: {type(error).__name__}"))

    async def run(self, seconds: float) -> None:
        """Poll every so many seconds; in between load what no alias leads to."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + seconds
            while loop.time() < due and await self._load_next():
                pass
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self.poll()

    def _note(self, error: CuecardError) -> None:
        self.state.looks += 1
        self.state.failures += 1
        self.state.reachable = False
        self.state.problem = error.what

    async def _follow(self) -> None:
        listing = await asyncio.to_thread(self._reader.poll, self._unsettled())
        try:
            await self._take_over(listing)
        except BaseException:
            self._reader.forget()
            raise
        self.state.looks += 1
        self.state.reachable, self.state.problem = True, None
        self.state.seen = self._clock()
        self.state.name_problems = dict(self._problems)
        if listing.names or self.state.cache_problem:
            await self._save()

    async def _take_over(self, listing: Listing) -> None:
        before = self._shelf.shown
        changed: dict[str, Shown] = {}
        for name, found in listing.names.items():
            was = before.get(name, Shown())
            problem = found.what if isinstance(found, CuecardError) else None
            if name == self._shelf.backbone:
                problem = "it has the name of the backbone, which is what answers to it"
            if isinstance(found, Listed) and problem is None:
                self._problems.pop(name, None)
                self._listed[name] = found
                changed[name] = await self._show(name, found, was)
            else:
                self._problems[name] = problem or ""
                if was.every and name != self._shelf.backbone:
                    changed[name] = was
        if listing.complete:
            self._problems = {n: why for n, why in self._problems.items() if n in listing.names}
            self._serve(changed)
        elif changed:
            self._serve({**before, **changed})

    def _unsettled(self) -> set[str]:
        """The names that have to be read again although nothing was written."""
        return set(self._problems) | {
            name for name, shown in self._shelf.shown.items() if shown.broken or shown.lost
        }

    async def _load_next(self) -> bool:
        """Load one version that no alias leads to; False if there is none left, or it failed."""
        waiting = [(name, shown) for name, shown in self._shelf.shown.items() if shown.loading]
        if not waiting:
            return False
        name, shown = waiting[0]
        number = max(shown.loading)
        version = self._listed[name].versions[number]
        try:
            loaded = await self._load_version(name, version)
        except CuecardError as error:  # the engine; the next poll says so too
            self._note(error)
            return False
        except Exception as error:  # noqa: BLE001 - as in `poll`
            self._log.failure("follower", error)
            return False
        versions, refused, broken = dict(shown.versions), dict(shown.refused), dict(shown.broken)
        if isinstance(loaded, Served):
            versions[number] = loaded
        else:
            (refused if loaded.final else broken)[number] = loaded.why
        done = replace(
            shown,
            versions=versions,
            refused=refused,
            broken=broken,
            loading=shown.loading - {number},
        )
        self._serve({**self._shelf.shown, name: done})
        if not done.loading:
            await self._save()
        return True

    def _serve(self, shown: Mapping[str, Shown]) -> None:
        self._tell(self._shelf.shown, shown)
        self._shelf.replace(shown)

    def _tell(self, before: Mapping[str, Shown], now: Mapping[str, Shown]) -> None:
        """Log what has changed, for people who look for when it did."""
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
            await asyncio.to_thread(self._cache.save, self._shelf.shown, self._reader.identity)
            self.state.cache_problem = None
        except OSError as error:
            self.state.cache_problem = error.strerror or str(error)

    async def _show(self, name: str, listed: Listed, before: Shown) -> Shown:
        """What a name offers now; an alias whose new target cannot answer stays where it was.

        At the start, versions that no alias leads to, the newest aside, are left to `_load_next`.
        """
        first = {*listed.aliases.values(), max(listed.versions, default=0)}
        known = {served.number: served for served in before.every}
        versions: dict[int, Served] = {}
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
            if isinstance(loaded, Served):
                versions[number] = loaded
            else:
                (refused if loaded.final else broken)[number] = loaded.why
        aliases: dict[str, Served] = {}
        lost: dict[str, int] = {}
        for alias, number in listed.aliases.items():
            if number in versions:
                aliases[alias] = versions[number]
            else:
                lost[alias] = number
                if alias in before.aliases:
                    aliases[alias] = before.aliases[alias]
        return Shown(versions, aliases, refused, broken, lost, frozenset(loading))

    def _has_failed(self, version: Version) -> bool:
        failed = self._failed.get(version.record.content)
        return failed is not None and self._holds(failed)

    def _holds(self, failed: _Failure) -> bool:
        """Whether a failure is not yet to be tried again."""
        return failed.final or self._clock() - failed.at < _RETRY_SECONDS

    async def _load_version(self, name: str, version: Version) -> Served | _Failure:
        record = version.record
        entry = KnownVersion(
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
        """Make sure, once for each version, that a trusted key has signed it."""
        if self._trusted and version.sha256 not in self._signed:
            check_signed(self._registry.store, version, self._trusted)
            self._signed.add(version.sha256)

    async def _remembered(self, known: Mapping[str, KnownName]) -> dict[str, Shown]:
        """What the cache has of what was served last."""
        shown: dict[str, Shown] = {}
        for name, each in known.items():
            entries = {entry.number: entry for entry in (*each.versions, *each.aliases.values())}
            found: dict[int, Served] = {}
            broken: dict[int, str] = {}
            for number, entry in entries.items():
                loaded = await self._load(name, entry, None)
                if isinstance(loaded, Served):
                    found[number] = loaded
                else:
                    broken[number] = loaded.why
            listed = {entry.number for entry in each.versions}
            shown[name] = Shown(
                {number: served for number, served in found.items() if number in listed},
                {a: found[e.number] for a, e in each.aliases.items() if e.number in found},
                {},
                broken,
                {a: e.number for a, e in each.aliases.items() if e.number not in found},
            )
        return shown

    async def _load(
        self, name: str, entry: KnownVersion, read: Callable[[], Contents] | None
    ) -> Served | _Failure:
        """A version, checked and ready; a failure is remembered for a while.

        Args:
            read: gets it from the registry; None: the cache alone.
        """
        failed = self._failed.get(entry.content)
        if failed and self._holds(failed):
            return failed
        try:
            contents = await asyncio.to_thread(self._contents, entry.content, read)
            served = _served(name, entry, contents)
            await asyncio.to_thread(self._engine.refuses, contents.prompt)
            await self._ready(served)
        except EngineError:
            raise
        except CuecardError as error:
            final = isinstance(error, WrongBackboneError | ConfigError)
            failure = _Failure(error.what, final, self._clock())
            self._failed[entry.content] = failure
            return failure
        self._failed.pop(entry.content, None)
        return served

    async def _ready(self, served: Served) -> None:
        await self._engine.hold(served.held)
        try:
            await check_answers(self._engine, served)
        except CuecardError:
            self._shelf.leave(served.held.digest)
            raise

    def _contents(self, content: str, read: Callable[[], Contents] | None) -> Contents:
        cached = self._cache.fetch(content)
        if cached is not None:
            return cached
        if read is None:
            raise CuecardError("it is not in the cache", where=str(self._cache.folder(content)))
        contents = read()
        try:
            self._cache.keep(contents, content)
        except CuecardError as error:
            self.state.cache_problem = error.what
        return contents


def _served(name: str, entry: KnownVersion, contents: Contents) -> Served:
    prompt = contents.prompt
    return Served(
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


def _summary(shown: Mapping[str, Shown]) -> dict[str, str]:
    """What answers under each name, and what cannot."""
    found: dict[str, str] = {}
    for name, each in shown.items():
        found |= {f"{name}@{alias}": str(served) for alias, served in each.aliases.items()}
        found |= {str(served): served.held.digest for served in each.versions.values()}
        for number, why in (*each.refused.items(), *each.broken.items()):
            found[f"{name}@{number}"] = why
    return found
