"""Schemas of the registry's JSON objects: strict, typed, and bound to their keys.

The numbers of versions and events are part of their objects, so that a copy under another key does
not pass for another object.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from cuecard.artifacts.files import MAX_TENSOR_BYTES
from cuecard.artifacts.lineage import PortedFrom
from cuecard.artifacts.prompt_backbone import PromptBackbone
from cuecard.artifacts.sealed import Sha256
from cuecard.errors import RegistryError
from cuecard.plain_files import parse_json
from cuecard.registry.records.references import NAME
from cuecard.validation_text import first_problem

MAX_FILES = 16
MAX_DOCUMENT_BYTES = 1 << 24
Name = Annotated[str, Field(pattern=NAME)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Number = Annotated[int, Field(ge=1, le=99_999_999)]
Text = Annotated[str, Field(max_length=2000)]
# The journal only refers to keys under prompts/.
_PART = NAME.removeprefix("^").removesuffix("$")
OBJECT_KEY = rf"^prompts/{_PART}/(versions|deleted|aliases/{_PART})/[0-9]{{8}}\.json$"


class Document(BaseModel):
    """One JSON object of the registry."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    def to_bytes(self) -> bytes:
        """The stored bytes."""
        content = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode("ascii")

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Self:
        """Parse and validate.

        Raises:
            ArtifactError: not JSON.
            RegistryError: wrong or unknown fields.
        """
        document = parse_json(content, where)
        try:
            # Through JSON: strict mode accepts a JSON array as a tuple, but not a Python list.
            return cls.model_validate_json(json.dumps(document))
        except ValidationError as error:
            raise RegistryError(
                "an object of the registry is malformed",
                where=where,
                got=first_problem(error),
            ) from error


class FileEntry(Document):
    """One file of a version: its blob's SHA-256 and its size in bytes."""

    sha256: Sha256
    size: int = Field(ge=0, le=MAX_TENSOR_BYTES)


class VersionRecord(Document):
    """The record of a version; immutable.

    Attributes:
        name, number: the version, `name@number`.
        files: the files of the prompt folder, by name.
        content: SHA-256 over `files`; the same for versions with the same content.
        digest: the prompt's own (docs/artifact.md).
        method, kind, backbone, metrics, data_hash, seed, ported_from: copied from the prompt.
        at, by, why: time (UTC, by the writer's clock), author and note. For people: clocks decide
            nothing.
        id: random, so that no two writers write the same bytes.
    """

    schema_version: Literal[1] = 1
    name: Name
    number: Number
    files: dict[FileName, FileEntry] = Field(min_length=1, max_length=MAX_FILES)
    content: Sha256
    digest: Sha256
    method: Text
    kind: Text
    backbone: PromptBackbone
    metrics: dict[str, JsonValue]
    data_hash: str = Field(max_length=64)
    seed: int | None
    ported_from: PortedFrom | None = Field(default=None, exclude_if=lambda entry: entry is None)
    at: Text
    by: Text
    why: Text
    id: str = Field(pattern=r"^[0-9a-f]{32}$")

    @model_validator(mode="after")
    def _content_fits(self) -> Self:
        if self.content != content_digest(self.files):
            raise ValueError("the content's digest is not that of the files")
        return self


@dataclass(frozen=True, slots=True)
class Version:
    """A version as read from the store.

    Attributes:
        record: its record.
        sha256: of the record's bytes; what signatures sign.
        deleted: whether it was deleted.
    """

    record: VersionRecord
    sha256: str
    deleted: bool = False

    @property
    def number(self) -> int:
        return self.record.number

    def __str__(self) -> str:
        return f"{self.record.name}@{self.record.number}"


class Deletion(Document):
    """The deletion mark of a version."""

    schema_version: Literal[1] = 1
    name: Name
    number: Number
    at: Text
    by: Text
    why: Text
    id: str = Field(pattern=r"^[0-9a-f]{32}$")


class AliasEvent(Document):
    """One move of an alias; the last one is where the alias points.

    Attributes:
        seq: 1, 2, 3 ...: the order, independent of clocks.
        before, after: the version's number before and after ("from" and "to" in JSON); None if the
            alias did not exist, or was removed.
        evidence: measurements of the promotion checks.
    """

    schema_version: Literal[1] = 1
    name: Name
    alias: Name
    seq: Number
    action: Literal["promote", "rollback", "remove"]
    before: Number | None = Field(validation_alias="from", serialization_alias="from")
    after: Number | None = Field(validation_alias="to", serialization_alias="to")
    at: Text
    by: Text
    why: Text
    evidence: dict[str, JsonValue] = {}
    id: str = Field(pattern=r"^[0-9a-f]{32}$")


class JournalEntry(Document):
    """One write to the registry: the object created, and its digest.

    Attributes:
        seq: 1, 2, 3 ...: the order of the writes.
        previous: SHA-256 of the previous entry's bytes; None for the first.
        name: the prompt changed.
        key: the object created: a version, an alias event or a deletion mark.
        sha256: of the object's bytes.
    """

    schema_version: Literal[1] = 1
    seq: Number
    previous: Sha256 | None
    name: Name
    key: str = Field(pattern=OBJECT_KEY)
    sha256: Sha256
    id: str = Field(pattern=r"^[0-9a-f]{32}$")


class Lease(Document):
    """Blobs that a writer relies on, or a collector may remove, while this object exists."""

    blobs: list[Sha256]
    id: str = Field(pattern=r"^[0-9a-f]{32}$")


class Signature(Document):
    """An Ed25519 signature (RFC 8032) of a version, in hexadecimal."""

    schema_version: Literal[1] = 1
    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """SHA-256 over a line per file, by name: digest, two spaces, name (as `sha256sum` prints)."""
    lines = "".join(f"{files[name].sha256}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode("ascii")).hexdigest()


def parse_document(kind: type[Any], content: bytes | None, where: str) -> Any:
    """Parse an object that must exist.

    Raises:
        RegistryError: missing or malformed.
    """
    if content is None:
        raise RegistryError("an object of the registry is missing", where=where)
    return kind.from_bytes(content, where)
