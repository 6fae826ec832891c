"""Where a server listens."""

from __future__ import annotations

import socket

from cuecard.errors import ConfigError


def bind(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        ConfigError: the address cannot be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            "cannot listen on this address",
            where="--host, --port",
            got=f"{host}:{port}: {error.strerror or error}",
            expected="a local address and a free port",
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The address that clients call."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
