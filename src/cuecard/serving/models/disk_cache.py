"""What was served last, on the disk: a server starts from it when its registry is out of reach.

`<cache>/serving/<registry>.json` names versions and aliases by content. The prompts' folders lie in
`<cache>/versions/<content>`, and every byte is compared with that digest when they are read.
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
from cuecard.registry import Contents
from cuecard.registry.records.blobs import describe
from cuecard.registry.records.schemas import Name, Number, content_digest
from cuecard.serving.models.catalog import Shown

_MOST_BYTES = 1 << 26


class KnownVersion(BaseModel):
    """One version: its number, the digest of its files, when it was published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: Number
    content: Sha256
    created: int


class KnownName(BaseModel):
    """One name's versions and aliases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    versions: tuple[KnownVersion, ...]
    aliases: dict[Name, KnownVersion]


class KnownGood(BaseModel):
    """All that a server served.

    Attributes:
        identity: of the registry (`Registry.identity`); None in files of older versions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    registry: str
    identity: str | None = None
    names: dict[Name, KnownName]


class LastKnownGood:
    """The file of one registry, and the folders that it names.

    Args:
        registry: the registry's URL.
        root: the cache folder; the user's own by default.
        trusted: the public keys that versions must be signed by. What was served without them, or
            with others, is not in this file.
    """

    def __init__(
        self, registry: str, root: Path | None = None, trusted: Sequence[str] = ()
    ) -> None:
        self.registry = registry
        self._root = root or cache_root()
        source = "\n".join([registry, *sorted(trusted)])
        name = hashlib.sha256(source.encode()).hexdigest()[:32]
        self._file = self._root / "serving" / f"{name}.json"
        self._written: KnownGood | None = None

    def folder(self, content: str) -> Path:
        """Where a version's prompt folder lies."""
        return self._root / "versions" / content

    def keep(self, contents: Contents, content: str) -> None:
        """Put a version's folder into the cache.

        Raises:
            CuecardError: the cache cannot be written.
        """
        folder = self.folder(content)
        with locked(folder):
            contents.write(folder, overwrite=True)

    def fetch(self, content: str) -> Contents | None:
        """A version's folder from the cache; None where it is not, or is not what it was."""
        folder = self.folder(content)
        try:
            contents = Contents.read(folder)
        except (ArtifactError, RegistryError, OSError):
            return None
        files = {name: describe(file) for name, file in contents.files.items()}
        return contents if content_digest(files) == content else None

    def save(self, shown: Mapping[str, Shown], identity: str | None = None) -> None:
        """Write down what is served, whole, if it has changed.

        Args:
            identity: of the registry that it came from.

        Raises:
            OSError: the cache cannot be written.
        """
        known = KnownGood(
            registry=self.registry,
            identity=identity,
            names={name: _known(each) for name, each in shown.items() if each.every},
        )
        if known == self._written:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._file, known.model_dump_json().encode(), private=True)
        self._written = known

    def load(self) -> KnownGood | None:
        """What was served last; None where nothing was, or the file is broken."""
        try:
            with self._file.open("rb") as file:
                return KnownGood.model_validate_json(file.read(_MOST_BYTES))
        except (OSError, ValidationError):
            return None


def _known(shown: Shown) -> KnownName:
    def entry(number: int, content: str, created: int) -> KnownVersion:
        return KnownVersion(number=number, content=content, created=created)

    return KnownName(
        versions=tuple(entry(n, s.content, s.created) for n, s in sorted(shown.versions.items())),
        aliases={a: entry(s.number, s.content, s.created) for a, s in shown.aliases.items()},
    )
