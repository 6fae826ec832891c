"""How a server is to run. Imports little, so that a mistake is told at once."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cuecard.errors import ConfigError
from cuecard.serving.http.limits import Limits

SystemMessages = Literal["refuse", "ignore", "prepend"]
"""What becomes of a chat's system messages under a prompt, whose template has no place for them."""
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#@*\s]+")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is to run.

    Attributes:
        host, port: where it listens; port 0 for a free one.
        keys: the file of API keys; None to ask for none, on this machine alone.
        limits: what it takes.
        poll_seconds: between looks at the registry.
        cache: where the last known good is kept; the user's cache by default.
        trusted: public keys; only versions that one of them has signed are served.
        cors: origins of web pages that may call it from a browser; "*" for any.
        system_messages: what becomes of system messages under a prompt (`SystemMessages`).
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    limits: Limits = field(default_factory=Limits)
    poll_seconds: float = 2.0
    cache: Path | None = None
    trusted: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    system_messages: SystemMessages = "refuse"


def check_settings(settings: Settings) -> None:
    """Refuse what is not safe, and what cannot be meant.

    Raises:
        ConfigError: an address that others reach, without keys; or what is not an origin.
    """
    if settings.keys is None and not _is_loopback(settings.host):
        raise ConfigError(
            "refusing to listen on a public address without API keys",
            where="--host",
            got=settings.host,
            expected="127.0.0.1, or --keys FILE",
            hint="`cuecard keys add NAME --keys FILE` makes a file of keys",
        )
    for origin in settings.cors:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                "this is not the origin of a web page",
                where="--cors",
                got=origin,
                expected="https://HOST or https://HOST:PORT without a path, or '*' for any",
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
