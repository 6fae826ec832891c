"""The server's settings. Imports little, so that mistakes are reported at once."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cuecard.errors import ConfigError
from cuecard.serving.http.limits import Limits

SystemMessages = Literal["refuse", "ignore", "prepend"]
"""How to treat a chat's system messages under a prompt, whose template has no place for them."""
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#@*\s]+")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a server.

    Attributes:
        host, port: the address to listen on; port 0: a free one.
        keys: the key file; None: no authentication, on a loopback address only.
        poll_seconds: polling interval of the registry.
        cache: the folder of the disk cache; by default in the user's cache.
        trusted: public keys; only versions signed by one of them are served.
        cors: web origins that may call the server from a browser; "*" for any.
        system_messages: how to treat system messages under a prompt.
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
    """Check the settings before anything is loaded.

    Raises:
        ConfigError: a public address without keys, or a malformed origin.
    """
    if settings.keys is None and not _is_loopback(settings.host):
        raise ConfigError(
            "refusing to listen on a public address without API keys",
            where="--host",
            got=settings.host,
            expected="127.0.0.1, or --keys FILE",
            hint="`cuecard keys add NAME --keys FILE` creates a key file",
        )
    for origin in settings.cors:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                "not a web origin",
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
