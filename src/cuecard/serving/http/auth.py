"""API keys: a file of key hashes with their scopes and limits.

A key is 32 random bytes, so one SHA-256 suffices (slow hashes protect secrets that can be guessed).
The file is replaced atomically and read again when it changes.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cuecard.errors import ConfigError
from cuecard.plain_files import replace_file
from cuecard.registry.records.references import NAME
from cuecard.validation_text import expected, first_problem

EVERYTHING = "*"
PREFIX = "cue_"
_MAX_BYTES = 1 << 24

Limit = Annotated[int, Field(ge=1)]


class APIKey(BaseModel):
    """An API key, as its hash.

    Attributes:
        id: its name, which logs contain.
        sha256: the hash of the key.
        prompts: the models it may use: `name`, `name@alias`, `name@3`, or `*` for all, the backbone
            included.
        raw: whether it may use the backbone itself, and prompts without their templates. A
            prompt's name never grants this, whatever the backbone is called.
        requests_per_minute, tokens_per_minute, tokens_per_day: its limits; None: unlimited.
        concurrent_requests: maximum open requests; None: the server's default.
        created: creation time, UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(pattern=NAME)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    prompts: tuple[str, ...] = (EVERYTHING,)
    raw: bool = False
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    tokens_per_day: Limit | None = None
    concurrent_requests: Limit | None = None
    created: str = ""

    @property
    def unrestricted(self) -> bool:
        """Whether it may use every model, and see metrics and readiness details."""
        return EVERYTHING in self.prompts

    @property
    def allows_raw(self) -> bool:
        """Whether it may use the backbone itself."""
        return self.raw or self.unrestricted

    def allows(self, prompt: str) -> bool:
        """Whether it may use a model `name`, `name@alias` or `name@3`."""
        return bool({EVERYTHING, prompt, prompt.partition("@")[0]} & set(self.prompts))


class KeyFile(BaseModel):
    """The key file's content."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[1] = 1
    keys: tuple[APIKey, ...] = ()


def read_keys(path: Path) -> tuple[APIKey, ...]:
    """Read a key file.

    Raises:
        ConfigError: missing or malformed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
        return KeyFile.model_validate_json(content).keys
    except OSError as error:
        raise ConfigError(
            "cannot read the key file",
            where=str(path),
            got=error.strerror,
            hint="`cuecard keys add NAME` creates one",
        ) from error
    except ValidationError as error:
        raise ConfigError(
            "the key file is malformed", where=str(path), got=first_problem(error)
        ) from error


def add_key(
    path: Path,
    name: str,
    *,
    prompts: Sequence[str] = (),
    raw: bool = False,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    tokens_per_day: int | None = None,
    concurrent_requests: int | None = None,
) -> str:
    """Add a key to a file, creating it if missing, and return the key: the file only has its hash.

    Without prompts the key may use every model; with `raw` alone, only the backbone.

    Raises:
        ConfigError: the name is invalid or taken, or the file cannot be written.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    try:
        key = APIKey(
            id=name,
            sha256=_digest(secret),
            prompts=tuple(prompts) or (() if raw else (EVERYTHING,)),
            raw=raw,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            tokens_per_day=tokens_per_day,
            concurrent_requests=concurrent_requests,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ConfigError(
            "this key is not valid",
            where=str(problem["loc"][0]),
            got=repr(problem["input"]),
            expected=expected(problem),
        ) from error
    with _changing(path):
        known = read_keys(path) if path.exists() else ()
        if any(other.id == name for other in known):
            raise ConfigError(
                "a key of this name exists",
                where=str(path),
                got=name,
                hint="to rotate it, add a key of another name, then revoke this one",
            )
        _write(path, (*known, key))
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Remove a key from a file.

    Raises:
        ConfigError: no key of that name.
    """
    with _changing(path):
        known = read_keys(path)
        left = tuple(key for key in known if key.id != name)
        if len(left) == len(known):
            names = ", ".join(key.id for key in known)
            raise ConfigError(
                "no such key", where=str(path), got=name, expected=names or "(the file is empty)"
            )
        _write(path, left)


@dataclass(frozen=True, slots=True)
class _FileState:
    """Tells versions of a file apart."""

    inode: int
    size: int
    changed: int


class KeyStore:
    """The current keys of a file, which is read again when it changes.

    If the file becomes unreadable or malformed, the last keys stay valid; `problem` says so.

    Args:
        path: the key file.

    Raises:
        ConfigError: missing or malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._state = self._stat()
        self._keys = read_keys(path)

    def find(self, secret: str) -> APIKey | None:
        """The entry of a caller's key; None if unknown or revoked."""
        self._refresh()
        given = _digest(secret)
        found = None
        for key in self._keys:  # all of them, so that timing reveals nothing
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def _refresh(self) -> None:
        state = self._stat()
        if state == self._state:
            return
        try:
            self._keys = read_keys(self.path)
            self.problem = None
        except ConfigError as error:
            self.problem = error.what
        self._state = state

    def _stat(self) -> _FileState | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return _FileState(found.st_ino, found.st_size, found.st_mtime_ns)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Lock the file against other writers.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield
    except OSError as error:
        raise ConfigError(
            "cannot write the key file", where=str(path), got=error.strerror
        ) from error


def _write(path: Path, keys: tuple[APIKey, ...]) -> None:
    """Replace the file atomically, readable by its owner only."""
    content = KeyFile(keys=keys).model_dump_json(indent=1, exclude_none=True) + "\n"
    replace_file(path, content.encode(), private=True)
