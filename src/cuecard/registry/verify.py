"""Verify a registry: read every object and report problems."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from cuecard.artifacts.files import MAX_TENSOR_BYTES
from cuecard.errors import CuecardError
from cuecard.registry.records.aliases import alias_names
from cuecard.registry.records.blobs import FOLDER, blob_key, get_blob
from cuecard.registry.records.journal import JOURNAL, entry_key, read_entry
from cuecard.registry.records.references import is_alias, is_name
from cuecard.registry.records.schemas import MAX_DOCUMENT_BYTES, JournalEntry, Version
from cuecard.registry.records.versions import PROMPTS, is_numbered, numbered
from cuecard.registry.registry import Registry
from cuecard.registry.signing import check_signed, is_valid, signatures_of
from cuecard.registry.stores.store import Store, is_litter

_DIGEST = re.compile(r"^[0-9a-f]{64}$")


@dataclass
class Report:
    """The result of `verify`.

    Attributes:
        prompts, versions, aliases, events, signatures, blobs, bytes: how many of each were read.
        writes: entries of the journal.
        head: SHA-256 of the journal's last entry; None if there is none. Kept elsewhere, it shows
            later whether the end of the journal was cut off.
        unused: unreferenced blobs; `collect_garbage` removes them eventually.
        problems: each with its location; empty if there are none.
    """

    prompts: int = 0
    versions: int = 0
    aliases: int = 0
    events: int = 0
    signatures: int = 0
    blobs: int = 0
    bytes: int = 0
    unused: int = 0
    writes: int = 0
    head: str | None = None
    problems: list[CuecardError] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Record an error in the block, and continue."""
        try:
            yield
        except CuecardError as error:
            self.problems.append(error)


def verify(
    registry: Registry,
    name: str | None = None,
    trusted: Sequence[str] = (),
    head: str | None = None,
) -> Report:
    """Check every version, blob, alias and signature, of one prompt or of all, and the journal.

    The journal reveals objects removed or rewritten after publication. Someone who can
    rewrite the journal's end too can hide that; then only signatures and a `head` kept elsewhere
    reveal it.

    Args:
        name: one prompt; by default all, and unreferenced blobs.
        trusted: public keys; every version that is not deleted must be signed by one.
        head: an earlier `Report.head`, which the journal must still contain.
    """
    report = Report()
    names = [name] if name is not None else None
    if names is None:
        names = []
        with report.noting():
            names = registry.names()
    named: set[str] = set()
    for each in names:
        report.prompts += 1
        with report.noting():
            _check_prompt(registry, each, trusted, named, report)
    if name is None:
        with report.noting():
            _check_unreferenced(registry, named, report)
        with report.noting():
            _check_names(registry, PROMPTS, is_name, report)
    _check_journal(registry, name, head, report)
    return report


def _check_journal(registry: Registry, name: str | None, head: str | None, report: Report) -> None:
    """Check that every recorded write is still there, byte for byte."""
    store = registry.store
    seen: set[str] = set()
    with report.noting():
        for seq in numbered(store, JOURNAL):
            found = read_entry(store, seq)
            if found is None:
                continue  # the listing is stale
            entry, digest = found
            if seq != report.writes + 1 or entry.previous != report.head:
                raise CuecardError(
                    "the journal has a gap or a rewritten entry",
                    where=f"{store.url}/{entry_key(seq)}",
                    got=f"entry {seq} after {entry.previous}",
                    expected=f"entry {report.writes + 1} after {report.head}",
                )
            report.writes, report.head = seq, digest
            seen.add(digest)
            if name in (None, entry.name):
                with report.noting():
                    _check_written(store, entry)
    if head is not None and head not in seen:
        report.problems.append(
            CuecardError(
                "the journal does not contain the expected entry: its end was cut off or rewritten",
                where=f"{store.url}/{JOURNAL}",
                got=f"{report.writes} entries up to {report.head}",
                expected=head,
            )
        )


def _check_written(store: Store, entry: JournalEntry) -> None:
    where = f"{store.url}/{entry.key}"
    content = store.read(entry.key, MAX_DOCUMENT_BYTES)
    if content is None:
        raise CuecardError(
            "an object that the journal records was removed",
            where=where,
            expected=f"sha256 {entry.sha256}",
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        raise CuecardError(
            "an object was rewritten after it was published",
            where=where,
            got=f"sha256 {digest}",
            expected=f"sha256 {entry.sha256}",
        )


def _check_names(
    registry: Registry, folder: str, ours: Callable[[str], bool], report: Report
) -> None:
    """Report names that are not the registry's, except those of desktops and file systems."""
    for each in registry.store.names(folder):
        if not ours(each) and not is_litter(each):
            report.problems.append(
                CuecardError(
                    "this object is not part of the registry",
                    where=f"{registry.store.url}/{folder}/{each}",
                    hint="it is ignored; move it elsewhere",
                )
            )


def _check_prompt(
    registry: Registry, name: str, trusted: Sequence[str], named: set[str], report: Report
) -> None:
    for folder, ours in (
        ("versions", is_numbered),
        ("deleted", is_numbered),
        ("aliases", is_alias),
    ):
        _check_names(registry, f"{PROMPTS}/{name}/{folder}", ours, report)
    versions = {version.number: version for version in registry.versions(name)}
    kept = set()
    for alias in alias_names(registry.store, name):
        report.aliases += 1
        with report.noting():
            log = registry.log(name, alias)
            report.events += len(log)
            target = log[-1].after if log else None
            if target is not None:
                kept.add(target)
                _check_target(versions, target, f"{registry.store.url}, {name}@{alias}")
    for number, version in versions.items():
        if version.deleted and number not in kept:
            continue  # its blobs may have been removed
        report.versions += 1
        for entry in version.record.files.values():
            if entry.sha256 not in named:
                named.add(entry.sha256)
                with report.noting():
                    get_blob(registry.store, entry)
                    report.blobs += 1
                    report.bytes += entry.size
        with report.noting():
            _check_signatures(registry, version, trusted, report)
    expected = list(range(1, len(versions) + 1))
    if sorted(versions) != expected:
        missing = sorted(set(range(1, max(versions) + 1)) - set(versions))
        report.problems.append(
            CuecardError(
                "versions are missing",
                where=f"{registry.store.url}, {name}",
                got=", ".join(str(number) for number in missing[:10]),
            )
        )


def _check_target(versions: dict[int, Version], target: int, where: str) -> None:
    if target not in versions:
        raise CuecardError("an alias points at a missing version", where=where, got=target)
    if versions[target].deleted:
        raise CuecardError(
            "an alias points at a deleted version",
            where=where,
            got=target,
            hint="promote another version; its blobs are kept until then",
        )


def _check_signatures(
    registry: Registry, version: Version, trusted: Sequence[str], report: Report
) -> None:
    folder = signatures_of(version.record.name, version.sha256)
    for file in registry.store.names(folder):
        content = registry.store.read(f"{folder}/{file}", MAX_DOCUMENT_BYTES) or b""
        if not is_valid(content, version.sha256, file.removesuffix(".json")):
            raise CuecardError(
                "a signature does not match its version",
                where=f"{registry.store.url}/{folder}/{file}",
            )
        report.signatures += 1
    if trusted and not version.deleted:
        check_signed(registry.store, version, trusted)


def _check_unreferenced(registry: Registry, named: set[str], report: Report) -> None:
    """Check that unreferenced blobs match their names."""
    for digest in registry.store.names(FOLDER):
        if digest in named or is_litter(digest):
            continue
        where = f"{registry.store.url}/{blob_key(digest)}"
        with report.noting():
            if not _DIGEST.fullmatch(digest):
                raise CuecardError("this object is not part of the registry", where=where)
            report.unused += 1
            content = registry.store.read(blob_key(digest), MAX_TENSOR_BYTES) or b""
            if hashlib.sha256(content).hexdigest() != digest:
                raise CuecardError("an unused blob is damaged", where=where)
            report.blobs += 1
            report.bytes += len(content)
