"""The last catalog served, on disk: a server starts from it when its registry is unreachable.

`<cache>/serving/<registry>.json` lists versions and aliases by content digest. The prompt folders
are in `<cache>/versions/<content>` and are verified against that digest when they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cuecard.artifacts.sealed import Sha256
from cuecard.catalogue.cache import cache_root, locked
from cuecard.errors import ArtifactError, RegistryError
from cuecard.plain_files import replace_file
from cuecard.registry import PromptPackage
from cuecard.registry.records.blobs import describe
from cuecard.registry.records.schemas import Name, Number, content_digest
from cuecard.serving.models.catalog import NameEntry, ServedPrompt

_MAX_BYTES = 1 << 26


class CachedVersion(BaseModel):
    """One version: its number, the digest of its files, its publication time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: Number
    content: Sha256
    created: int


class CachedName(BaseModel):
    """One name's versions and aliases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    versions: tuple[CachedVersion, ...]
    aliases: dict[Name, CachedVersion]


class CachedCatalog(BaseModel):
    """Everything a server served.

    Attributes:
        identity: of the registry (`Registry.identity`); None in files of older versions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    registry: str
    identity: str | None = None
    names: dict[Name, CachedName]


class DiskCache:
    """The cached catalog of one registry, and the prompt folders it lists.

    Args:
        registry: the registry's URL.
        root: the cache folder; by default the user's.
        trusted: public keys that versions must be signed by; each set of keys has its own file.
    """

    def __init__(
        self, registry: str, root: Path | None = None, trusted: Sequence[str] = ()
    ) -> None:
        self.registry = registry
        self._root = root or cache_root()
        source = "\n".join([registry, *sorted(trusted)])
        name = hashlib.sha256(source.encode()).hexdigest()[:32]
        self._file = self._root / "serving" / f"{name}.json"
        self._written: CachedCatalog | None = None

    def folder(self, content: str) -> Path:
        """The path of a version's prompt folder."""
        return self._root / "versions" / content

    def put(self, package: PromptPackage, content: str) -> None:
        """Store a version's folder.

        Raises:
            CuecardError: the cache cannot be written.
        """
        folder = self.folder(content)
        with locked(folder):
            package.write(folder, overwrite=True)

    def get(self, content: str) -> PromptPackage | None:
        """A version's folder; None if it is not cached, or its files have changed."""
        folder = self.folder(content)
        try:
            package = PromptPackage.read(folder)
        except (ArtifactError, RegistryError, OSError):
            return None
        files = {name: describe(file) for name, file in package.files.items()}
        return package if content_digest(files) == content else None

    def save(self, entries: Mapping[str, NameEntry], identity: str | None = None) -> None:
        """Write what is served, if it has changed.

        Args:
            identity: the registry's (`Registry.identity`).

        Raises:
            OSError: the cache cannot be written.
        """
        known = CachedCatalog(
            registry=self.registry,
            identity=identity,
            names={name: _cached(entry) for name, entry in entries.items() if entry.prompts},
        )
        if known == self._written:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._file, known.model_dump_json().encode(), private=True)
        self._written = known

    def load(self) -> CachedCatalog | None:
        """What was served last; None if nothing was, or the file is damaged."""
        try:
            with self._file.open("rb") as file:
                return CachedCatalog.model_validate_json(file.read(_MAX_BYTES))
        except (OSError, ValidationError):
            return None


def _cached(entry: NameEntry) -> CachedName:
    def version(number: int, served: ServedPrompt) -> CachedVersion:
        return CachedVersion(number=number, content=served.content, created=served.created)

    return CachedName(
        versions=tuple(version(number, each) for number, each in sorted(entry.versions.items())),
        aliases={alias: version(each.number, each) for alias, each in entry.aliases.items()},
    )
