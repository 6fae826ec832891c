"""API keys: a file of hashes, who each is, and what it may do.

A key is 32 random bytes, so one SHA-256 is enough to hide it (a slow hash protects secrets that can
be guessed). The file is replaced in one step and read again when it changes.
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
_MOST_BYTES = 1 << 24

Limit = Annotated[int, Field(ge=1)]


class APIKey(BaseModel):
    """One key, without the key.

    Attributes:
        id: what people call it; in logs.
        sha256: of the key.
        prompts: what it may use: `name`, `name@alias`, `name@3`, or `*` for everything, the bare
            backbone included.
        raw: whether it may use the backbone freely: by the backbone's name, and its prompts
            without their templates. A prompt's name never gives this, whatever the backbone is
            called.
        requests_per_minute, tokens_per_minute, tokens_per_day: its limits; None for none.
        concurrent_requests: its open requests; None for as many as the server allows a key.
        created: when, in UTC.
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
        """Whether it may use everything, and so see what others use."""
        return EVERYTHING in self.prompts

    @property
    def allows_raw(self) -> bool:
        """Whether it may use the backbone freely."""
        return self.raw or self.unrestricted

    def allows(self, prompt: str) -> bool:
        """Whether it may use a prompt, called `name`, `name@alias` or `name@3` in a request."""
        return bool({EVERYTHING, prompt, prompt.partition("@")[0]} & set(self.prompts))


class KeyFile(BaseModel):
    """The file of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[1] = 1
    keys: tuple[APIKey, ...] = ()


def read_keys(path: Path) -> tuple[APIKey, ...]:
    """The keys of a file.

    Raises:
        ConfigError: no such file, or one that is broken.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
        return KeyFile.model_validate_json(content).keys
    except OSError as error:
        raise ConfigError(
            "the file of keys cannot be read",
            where=str(path),
            got=error.strerror,
            hint="`cuecard keys add NAME` makes one",
        ) from error
    except ValidationError as error:
        raise ConfigError(
            "the file of keys is broken", where=str(path), got=first_problem(error)
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
    """Add a key to a file, which need not be there; the key, which is given this once.

    Without prompts it may use everything; with `raw` alone, only the backbone.

    Raises:
        ConfigError: the name is taken or cannot be one, or the file cannot be written.
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
            "this cannot be a key",
            where=str(problem["loc"][0]),
            got=repr(problem["input"]),
            expected=expected(problem),
        ) from error
    with _changing(path):
        known = read_keys(path) if path.exists() else ()
        if any(other.id == name for other in known):
            raise ConfigError(
                "there is a key of this name",
                where=str(path),
                got=name,
                hint="to rotate it, add one of another name and revoke this one when it is idle",
            )
        _write(path, (*known, key))
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Take a key out of a file.

    Raises:
        ConfigError: there is none of that name.
    """
    with _changing(path):
        known = read_keys(path)
        left = tuple(key for key in known if key.id != name)
        if len(left) == len(known):
            names = ", ".join(key.id for key in known)
            raise ConfigError(
                "no such key", where=str(path), got=name, expected=names or "(there is none)"
            )
        _write(path, left)


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells one state of a file from another."""

    inode: int
    size: int
    changed: int


class KeyStore:
    """The keys of a file as they are now.

    A file that becomes unreadable or broken leaves the keys that were last read in force; `problem`
    says so.

    Args:
        path: the file; it has to be there and in order.

    Raises:
        ConfigError: it is not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._stamp = self._look()
        self._keys = read_keys(path)

    def find(self, secret: str) -> APIKey | None:
        """The key that a caller showed; None if it is none, or no more."""
        self._refresh()
        given = _digest(secret)
        found = None
        for key in self._keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        try:
            self._keys = read_keys(self.path)
            self.problem = None
        except ConfigError as error:
            self.problem = error.what
        self._stamp = stamp

    def _look(self) -> _Stamp | None:
        try:
            seen = self.path.stat()
        except OSError:
            return None
        return _Stamp(seen.st_ino, seen.st_size, seen.st_mtime_ns)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Hold the file against other writers; say what the system says against it.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield
    except OSError as error:
        raise ConfigError(
            "the file of keys cannot be written", where=str(path), got=error.strerror
        ) from error


def _write(path: Path, keys: tuple[APIKey, ...]) -> None:
    """Replace the file whole; only its owner may read it."""
    content = KeyFile(keys=keys).model_dump_json(indent=1, exclude_none=True) + "\n"
    replace_file(path, content.encode(), private=True)
