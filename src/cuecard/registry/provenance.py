"""Provenance of a write: who, when and why."""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


def utc_now() -> datetime:
    """The time by this machine's clock."""
    return datetime.now(UTC)


def whoami() -> str:
    """user@host."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user id without a name, as in containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Makes the provenance fields of records.

    Attributes:
        who: the author.
        clock: for people to read; decides nothing.
    """

    who: str
    clock: Callable[[], datetime] = utc_now

    def fields(self, why: str) -> dict[str, Any]:
        """`at`, `by`, `why` and a new `id`."""
        at = self.clock().astimezone(UTC).isoformat(timespec="seconds")
        return {"at": at, "by": self.who, "why": why, "id": secrets.token_hex(16)}
