"""A registry of prompts: numbered versions that never change, and aliases that move."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cuecard.catalogue import BACKBONES
from cuecard.errors import RegistryError
from cuecard.registry import alias_operations
from cuecard.registry.alias_operations import PromotionCheck
from cuecard.registry.package import PromptPackage
from cuecard.registry.provenance import Stamp, utc_now, whoami
from cuecard.registry.records.aliases import alias_names, read_head, read_log
from cuecard.registry.records.blobs import describe, get_blob, put_blob
from cuecard.registry.records.journal import entry_key
from cuecard.registry.records.leases import relying_on
from cuecard.registry.records.references import (
    LATEST,
    Reference,
    check_alias,
    check_name,
    is_name,
    parse_reference,
)
from cuecard.registry.records.schemas import (
    MAX_DOCUMENT_BYTES,
    AliasEvent,
    Version,
    VersionRecord,
    content_digest,
)
from cuecard.registry.records.versions import PROMPTS, add_version, read_version, read_versions
from cuecard.registry.signing import Signer, check_signed, put_signature
from cuecard.registry.stores.store import Store, open_store

MARKER = "cuecard-registry.json"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push led to.

    Attributes:
        version: the version that holds the content.
        new: False if it was there already.
    """

    version: Version
    new: bool


class Registry:
    """Prompts in a folder or an object store; docs/registry.md has the layout and its guarantees.

    Args:
        place: a folder, an fsspec URL such as `s3://bucket/prompts`, or a store.
        who: recorded with everything that is written; user@host by default.
        clock: recorded too; nothing is decided by it.

    Raises:
        RegistryError: a place that cannot be a registry.
    """

    def __init__(
        self,
        place: str | Path | Store,
        *,
        who: str | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store = open_store(place) if isinstance(place, str | Path) else place
        self.stamp = Stamp(who or whoami(), clock)
        self._writable = False

    def names(self) -> list[str]:
        """The prompts' names, sorted. Whatever else is in their folder is skipped.

        Raises:
            RegistryError: there is no registry, or it cannot be read, or its prompts are gone.
        """
        if self.store.modified(MARKER) is None:
            raise RegistryError(
                "there is no registry here",
                where=self.store.url,
                got=f"no {MARKER}",
                hint="`cuecard push` makes one; --registry or CUECARD_REGISTRY says where",
            )
        found = [name for name in self.store.names(PROMPTS) if is_name(name)]
        if not found and self.store.modified(entry_key(1)) is not None:
            # Names never vanish. Taking this for an empty registry would give numbers twice, and
            # have `gc` remove every blob.
            raise RegistryError(
                "the registry has lost all of its prompts",
                where=f"{self.store.url}/{PROMPTS}",
                got="no names",
                expected="the names that its journal records",
                hint="is the volume mounted completely?",
            )
        return found

    def identity(self) -> str | None:
        """What tells this registry from another one in the same place; None if there is none.

        Raises:
            RegistryError: the store cannot be read.
        """
        marker = self.store.read(MARKER, MAX_DOCUMENT_BYTES)
        return None if marker is None else hashlib.sha256(marker).hexdigest()

    def versions(self, name: str) -> list[Version]:
        """A prompt's versions by number, deleted ones too; none for a prompt that is not there."""
        return read_versions(self.store, check_name(name))

    def aliases(self, name: str) -> dict[str, int]:
        """Where a prompt's aliases point."""
        heads = {
            alias: read_head(self.store, name, alias)
            for alias in alias_names(self.store, check_name(name))
        }
        return {alias: head.after for alias, head in heads.items() if head and head.after}

    def log(self, name: str, alias: str) -> list[AliasEvent]:
        """An alias's moves, the oldest first."""
        return read_log(self.store, check_name(name), check_alias(alias))

    def resolve(self, reference: str | Reference) -> Version:
        """The version that a reference means now.

        Raises:
            RegistryError: there is none, or it was deleted.
        """
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        name, target = wanted.name, wanted.target
        if isinstance(target, int):
            version = read_version(self.store, name, target)
            if version.deleted:
                raise RegistryError("this version was deleted", where=self.store.url, got=version)
            return version
        if target == LATEST:
            live = [version for version in self.versions(name) if not version.deleted]
            if live:
                return live[-1]
            raise RegistryError("no such prompt", where=self.store.url, got=name)
        head = read_head(self.store, name, target)
        if head is None or head.after is None:
            raise RegistryError(
                "no such alias",
                where=self.store.url,
                got=str(wanted),
                expected=", ".join(sorted(self.aliases(name))) or "a version's number",
            )
        return read_version(self.store, name, head.after)

    def push(
        self,
        prompt: str | Path | PromptPackage,
        name: str,
        *,
        why: str = "",
        signer: Signer | None = None,
    ) -> Pushed:
        """Publish a prompt folder as the next version; the same content keeps its version.

        Blobs and signature are there before the version is, and the version appears whole. Pushing
        again restores blobs that were lost or damaged, and adds a signature.

        Raises:
            ArtifactError: no prompt, or one that cannot be trusted.
            RegistryError: the registry cannot be written.
        """
        package = prompt if isinstance(prompt, PromptPackage) else PromptPackage.read(prompt)
        manifest = package.prompt.manifest
        _check_not_backbone(check_name(name), manifest.backbone.name)
        self._require_writable()
        self.names()  # refuses a registry that has lost them
        files = {file: describe(content) for file, content in package.files.items()}
        stamp = self.stamp.fields(why)

        def make(number: int) -> VersionRecord:
            return VersionRecord(
                name=name,
                number=number,
                files=files,
                content=content_digest(files),
                digest=package.prompt.digest,
                method=manifest.method,
                kind=package.prompt.spec.kind,
                backbone=manifest.backbone,
                metrics=manifest.metrics,
                data_hash=manifest.data_hash,
                seed=manifest.seed,
                **stamp,
            )

        with relying_on(self.store, {entry.sha256 for entry in files.values()}) as held:

            def before(record: bytes) -> Callable[[], None]:
                key = None
                if signer is not None:
                    sha256 = describe(record).sha256
                    key = put_signature(self.store, name, sha256, signer.sign(sha256))
                held.check()
                return lambda: None if key is None else self.store.remove(key)

            for content in package.files.values():
                put_blob(self.store, content)
            version, new = add_version(self.store, name, content_digest(files), make, before)
        if signer is not None and not new:
            put_signature(self.store, name, version.sha256, signer.sign(version.sha256))
        return Pushed(version, new)

    def read(
        self, reference: str | Reference | Version, trusted: Sequence[str] = ()
    ) -> PromptPackage:
        """A version's files, every byte checked, and the prompt that they are.

        Args:
            trusted: public keys (`read_trusted`); one of them must have signed the version.

        Raises:
            RegistryError: no such version, or a blob that is not what it was.
            SignatureError: no valid signature of a trusted key.
            ArtifactError: not a prompt that can be trusted.
        """
        version = reference if isinstance(reference, Version) else self.resolve(reference)
        if trusted:
            check_signed(self.store, version, trusted)
        files = {name: get_blob(self.store, entry) for name, entry in version.record.files.items()}
        return PromptPackage.from_files(files, f"{self.store.url}, {version}")

    def promote(
        self,
        reference: str | Reference | Version,
        alias: str,
        *,
        why: str = "",
        check: PromotionCheck | None = None,
        trusted: Sequence[str] = (),
    ) -> AliasEvent:
        """Point an alias at a version; see `cuecard.registry.alias_operations.promote`.

        Args:
            trusted: public keys (`read_trusted`); one of them must have signed the version. The
                reference is resolved once: the version that is checked is the one promoted.

        Raises:
            SignatureError: no valid signature of a trusted key.
        """
        version = reference if isinstance(reference, Version) else self.resolve(reference)
        check_alias(alias)
        if trusted:
            check_signed(self.store, version, trusted)
        self._require_writable()
        return alias_operations.promote(self.store, self.stamp, version, alias, why, check)

    def rollback(self, name: str, alias: str, *, why: str) -> AliasEvent:
        """Point an alias at where it was before; see `alias_operations.rollback`."""
        self._require_writable()
        return alias_operations.rollback(
            self.store, self.stamp, check_name(name), check_alias(alias), why
        )

    def delete(self, reference: str | Reference, *, why: str = "") -> None:
        """Delete a version by number, or end an alias; see `cuecard.registry.alias_operations`.

        Raises:
            RegistryError: no such thing, or a version that an alias points to.
        """
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        if wanted.target == LATEST:
            raise RegistryError("latest is no alias; name the version's number", got=str(wanted))
        self._require_writable()
        if isinstance(wanted.target, int):
            alias_operations.delete(self.store, self.stamp, self.resolve(wanted), why)
        else:
            alias_operations.remove_alias(self.store, self.stamp, wanted.name, wanted.target, why)

    def _require_writable(self) -> None:
        """Make sure, once, that the store lets an object be created only once.

        Raises:
            RegistryError: it does not, so that two writers could overwrite each other.
        """
        if self._writable:
            return
        if self.store.create(MARKER, _marker()) and self.store.create(MARKER, _marker()):
            raise RegistryError(
                "this store overwrites objects that were to be created only once",
                where=self.store.url,
                expected="a store with conditional writes (S3: If-None-Match)",
                hint="use a folder, S3 itself, or a newer version of the server",
            )
        self._writable = True


def _check_not_backbone(name: str, backbone: str) -> None:
    """Refuse a prompt that would be called what a server calls the model without a prompt."""
    if name == backbone or name in BACKBONES:
        raise RegistryError(
            "a prompt cannot have the name of a backbone",
            where="name",
            got=name,
            expected="another name: a server answers to the backbone's name without a prompt",
        )


def _marker() -> bytes:
    content = {"registry": "cuecard", "schema_version": 1, "id": secrets.token_hex(16)}
    return (json.dumps(content) + "\n").encode("ascii")
