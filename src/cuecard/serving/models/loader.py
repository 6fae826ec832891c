"""Loads versions: fetched or cached, verified, signed if asked for, and tried on the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from cuecard.engine.protocol import Held
from cuecard.errors import (
    ConfigError,
    CuecardError,
    EngineError,
    SignatureError,
    WrongBackboneError,
)
from cuecard.registry import PromptPackage, Registry, Version
from cuecard.registry.signing import check_signed
from cuecard.serving.models.answer_check import check_answers
from cuecard.serving.models.catalog import PromptCatalog, ServedPrompt
from cuecard.serving.models.disk_cache import CachedVersion, DiskCache
from cuecard.serving.models.registry_state import RegistryState

_RETRY_SECONDS = 15.0
# Versions that are fetched and tried at once: a store's round trips overlap, and the engine runs
# several prompts' test vectors in a pass.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """Why a version cannot answer, whether permanently, and when it was tried."""

    why: str
    permanent: bool
    at: float


class VersionLoader:
    """Loads versions into a catalog's engine, and remembers for a while which could not be.

    Args:
        registry: where they are.
        state: told what the cache cannot keep.
        catalog: what they are loaded for.
        cache: where their files are kept.
        clock: monotonic seconds.
        trusted: public keys, one of which must have signed a version; none: no signature is needed.
    """

    def __init__(
        self,
        registry: Registry,
        state: RegistryState,
        catalog: PromptCatalog,
        cache: DiskCache,
        clock: Callable[[], float] = time.monotonic,
        trusted: Sequence[str] = (),
    ) -> None:
        self._registry, self._state = registry, state
        self._catalog, self._engine = catalog, catalog.engine
        self._cache, self._clock, self._trusted = cache, clock, tuple(trusted)
        self._failed: dict[str, LoadFailure] = {}
        self._signed: set[str] = set()

    async def load_all(
        self, versions: Sequence[tuple[str, Version]]
    ) -> dict[tuple[str, int], ServedPrompt | LoadFailure]:
        """Versions with their names, several at once, begun in their order; by name and number.

        Raises:
            EngineError: the engine failed; it then keeps none of them.
        """
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str, version: Version) -> ServedPrompt | LoadFailure:
            async with room:
                return await self.load(name, version)

        found = await asyncio.gather(*(one(*each) for each in versions), return_exceptions=True)
        failed = next((each for each in found if isinstance(each, BaseException)), None)
        if failed is not None:
            for each in found:
                if isinstance(each, ServedPrompt):
                    self._catalog.release(each.held.digest)
            raise failed
        pairs = zip(versions, found, strict=True)
        return {
            (name, version.number): each
            for (name, version), each in pairs
            if not isinstance(each, BaseException)
        }

    async def load(self, name: str, version: Version) -> ServedPrompt | LoadFailure:
        """A version of the registry, if a trusted key has signed it.

        Raises:
            EngineError: the engine failed.
        """
        record = version.record
        entry = CachedVersion(
            number=version.number, content=record.content, created=_seconds(record.at)
        )
        try:
            await asyncio.to_thread(self._check_signed, version)
        except SignatureError as error:
            return LoadFailure(error.what, True, self._clock())
        except CuecardError as error:
            return LoadFailure(error.what, False, self._clock())
        return await self._load_checked(name, entry, partial(self._registry.read, version))

    async def load_cached(self, name: str, entry: CachedVersion) -> ServedPrompt | LoadFailure:
        """A version as the cache has it, without the registry.

        Raises:
            EngineError: the engine failed.
        """
        return await self._load_checked(name, entry, None)

    def has_failed(self, version: Version) -> bool:
        """Whether it could not be loaded, and it is too early for another try."""
        return self._recent_failure(version.record.content) is not None

    def _recent_failure(self, content: str) -> LoadFailure | None:
        """Why a version could not be loaded; None where it may be tried."""
        failed = self._failed.get(content)
        if failed and (failed.permanent or self._clock() - failed.at < _RETRY_SECONDS):
            return failed
        return None

    def _check_signed(self, version: Version) -> None:
        """Verify, once per version, that a trusted key has signed it."""
        if self._trusted and version.sha256 not in self._signed:
            check_signed(self._registry.store, version, self._trusted)
            self._signed.add(version.sha256)

    async def _load_checked(
        self, name: str, entry: CachedVersion, read: Callable[[], PromptPackage] | None
    ) -> ServedPrompt | LoadFailure:
        """A version, verified and loaded into the engine; a failure is remembered for a while.

        Args:
            read: fetches it from the registry; None: from the cache only.
        """
        if failed := self._recent_failure(entry.content):
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
            failure = LoadFailure(error.what, permanent, self._clock())
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
            self._state.cache_problem = error.what
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
