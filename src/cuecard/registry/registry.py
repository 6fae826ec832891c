"""A registry of prompts: immutable, numbered versions and movable aliases."""

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
from cuecard.registry.provenance import Provenance, utc_now, whoami
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
    """The result of a push.

    Attributes:
        version: the version with this content.
        new: False if it existed.
    """

    version: Version
    new: bool


class Registry:
    """Prompts in a folder or an object store; docs/registry.md has the layout and its guarantees.

    Args:
        place: a folder, a URL such as `s3://bucket/prompts`, or a store.
        who: the author recorded with every write; by default user@host.
        clock: the time recorded with it; decides nothing.

    Raises:
        RegistryError: the place cannot be a registry.
    """

    def __init__(
        self,
        place: str | Path | Store,
        *,
        who: str | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store = open_store(place) if isinstance(place, str | Path) else place
        self.provenance = Provenance(who or whoami(), clock)
        self._writable = False

    def names(self) -> list[str]:
        """The prompts' names, sorted; other entries of their folder are skipped.

        Raises:
            RegistryError: no registry, or it cannot be read, or its prompts have disappeared.
        """
        self.must_exist()
        found = [name for name in self.store.names(PROMPTS) if is_name(name)]
        if not found and self.store.modified(entry_key(1)) is not None:
            # Names never disappear. Treating this as an empty registry would assign numbers twice
            # and let `gc` remove every blob.
            raise RegistryError(
                "the registry has lost all of its prompts",
                where=f"{self.store.url}/{PROMPTS}",
                got="no names",
                expected="the names that its journal records",
                hint="is the volume mounted completely?",
            )
        return found

    def must_exist(self) -> None:
        """
        Raises:
            RegistryError: there is no registry.
        """
        if self.store.modified(MARKER) is None:
            raise RegistryError(
                "there is no registry here",
                where=self.store.url,
                got=f"no {MARKER}",
                hint="`cuecard push` creates one; --registry or CUECARD_REGISTRY says where",
            )

    def identity(self) -> str | None:
        """A digest that tells this registry from another in the same place; None: no registry.

        Raises:
            RegistryError: the store cannot be read.
        """
        marker = self.store.read(MARKER, MAX_DOCUMENT_BYTES)
        return None if marker is None else hashlib.sha256(marker).hexdigest()

    def versions(self, name: str) -> list[Version]:
        """A prompt's versions by number, deleted ones included; empty for an unknown prompt."""
        return read_versions(self.store, check_name(name))

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> the number it points at."""
        heads = {
            alias: read_head(self.store, name, alias)
            for alias in alias_names(self.store, check_name(name))
        }
        return {alias: head.after for alias, head in heads.items() if head and head.after}

    def log(self, name: str, alias: str) -> list[AliasEvent]:
        """An alias's events, oldest first."""
        return read_log(self.store, check_name(name), check_alias(alias))

    def resolve(self, reference: str | Reference) -> Version:
        """The version a reference points at now.

        Raises:
            RegistryError: no such version, or it was deleted.
        """
        parsed = parse_reference(reference) if isinstance(reference, str) else reference
        name, target = parsed.name, parsed.target
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
                got=str(parsed),
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

        Blobs and signature are written before the version, which appears atomically. Pushing again
        restores lost or damaged blobs, and adds a signature.

        Raises:
            ArtifactError: not a prompt, or one that cannot be trusted.
            RegistryError: the registry cannot be written.
        """
        package = prompt if isinstance(prompt, PromptPackage) else PromptPackage.read(prompt)
        manifest = package.prompt.manifest
        _check_not_backbone(check_name(name), manifest.backbone.name)
        self._require_writable()
        self.names()  # fails if the registry has lost them
        files = {file: describe(content) for file, content in package.files.items()}
        provenance = self.provenance.fields(why)

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
                ported_from=manifest.ported_from,
                **provenance,
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
        """A version's files, verified, and their prompt.

        Args:
            trusted: public keys (`read_trusted`); one of them must have signed the version.

        Raises:
            RegistryError: no such version, or a missing or altered blob.
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
                reference is resolved once, so the version checked is the version promoted.

        Raises:
            SignatureError: no valid signature of a trusted key.
        """
        version = reference if isinstance(reference, Version) else self.resolve(reference)
        check_alias(alias)
        if trusted:
            check_signed(self.store, version, trusted)
        self._require_writable()
        return alias_operations.promote(self.store, self.provenance, version, alias, why, check)

    def rollback(self, name: str, alias: str, *, why: str) -> AliasEvent:
        """Point an alias at its previous version; see `alias_operations.rollback`."""
        self._require_writable()
        return alias_operations.rollback(
            self.store, self.provenance, check_name(name), check_alias(alias), why
        )

    def delete(self, reference: str | Reference, *, why: str = "") -> None:
        """Delete a version by number, or remove an alias; see `cuecard.registry.alias_operations`.

        Raises:
            RegistryError: no such version or alias, or an alias points at the version.
        """
        parsed = parse_reference(reference) if isinstance(reference, str) else reference
        if parsed.target == LATEST:
            raise RegistryError("latest is not an alias; use the version's number", got=str(parsed))
        self._require_writable()
        if isinstance(parsed.target, int):
            alias_operations.delete(self.store, self.provenance, self.resolve(parsed), why)
        else:
            alias_operations.remove_alias(
                self.store, self.provenance, parsed.name, parsed.target, why
            )

    def create(self) -> None:
        """Make an empty registry where there is none, such as for a backbone served on its own.

        Raises:
            RegistryError: the store has no atomic create, or cannot be written.
        """
        self._require_writable()

    def _require_writable(self) -> None:
        """Check, once, that the store has an atomic create.

        Raises:
            RegistryError: it does not, and two writers could overwrite each other.
        """
        if self._writable:
            return
        if self.store.create(MARKER, _marker()) and self.store.create(MARKER, _marker()):
            raise RegistryError(
                "this store overwrites objects instead of failing to create them",
                where=self.store.url,
                expected="a store with conditional writes (S3: If-None-Match)",
                hint="use a folder, S3, or a newer version of the storage server",
            )
        self._writable = True


def _check_not_backbone(name: str, backbone: str) -> None:
    """Reject the name under which a server answers without a prompt."""
    if name == backbone or name in BACKBONES:
        raise RegistryError(
            "a prompt cannot have the name of a backbone",
            where="name",
            got=name,
            expected="another name: under this one, servers answer without a prompt",
        )


def _marker() -> bytes:
    content = {"registry": "cuecard", "schema_version": 1, "id": secrets.token_hex(16)}
    return (json.dumps(content) + "\n").encode("ascii")
