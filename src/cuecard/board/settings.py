"""The board's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class BoardSettings:
    """What a board shows, and to whom.

    Attributes:
        runs: the folder of the runs; it need not exist yet.
        registry: the registry's folder or URL.
        server: a running server's URL; None for none.
        server_key: what it is asked with where a browser has shown no key.
        host, port: where it listens; port 0 takes a free one.
        keys: the file of API keys; without it only this machine may ask.
        flags: a recipe's keys -> the flags of `cuecard train`, for command lines that are shown.
    """

    runs: Path
    registry: str
    server: str | None = None
    server_key: str | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    port: int = 8100
    keys: Path | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
