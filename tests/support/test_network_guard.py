"""The guard against the network works, and lets loopback through."""

from __future__ import annotations

import socket

import pytest

# An address set aside for documentation (RFC 5737). Connecting UDP sends nothing, guard or not.
ELSEWHERE = ("192.0.2.1", 9)


def test_other_machines_are_out_of_reach() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection,
        pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1"),
    ):
        connection.connect(ELSEWHERE)


def test_other_hosts_are_not_looked_up() -> None:
    with pytest.raises(pytest.fail.Exception, match="example"):
        socket.getaddrinfo("host.example.invalid", 80)


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address, timeout=5) as connection:
            assert connection.getpeername() == address
