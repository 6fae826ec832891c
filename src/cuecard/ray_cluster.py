"""A Ray cluster to work on: one that runs, or one of this machine alone."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cuecard.errors import ConfigError
from cuecard.lazy import import_library

ADDRESS = "RAY_ADDRESS"
"""Ray's own variable: the cluster that is used unless an address is given."""
_CONNECT_SECONDS = 5.0
_OBJECT_STORE = 100 << 20  # settings and errors are all that is passed around


def import_ray(module: str = "ray") -> Any:
    """Ray, or a module of it.

    Raises:
        ConfigError: it is not installed.
    """
    return import_library(module, "ray")


@contextmanager
def ray_cluster(address: str | None, cpus: float) -> Iterator[bool]:
    """Connect to a cluster for the block; without one, start one on this machine.

    Args:
        address: "auto" or HOST:PORT; None: that of RAY_ADDRESS, or none.
        cpus: what will be asked for at a time: a cluster that is started has at least as many.

    Yields:
        Whether the cluster was started, and ends with the block.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield False
        return
    address = address or os.environ.get(ADDRESS)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {
            "address": "local",
            "num_cpus": max(os.cpu_count() or 1, math.ceil(cpus)),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
            # By default workers yield to everything else that runs, and then may hardly run at all.
            "_system_config": {"worker_niceness": 0},
        }
    else:
        _check_reachable(address)
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError) as error:
        raise _no_cluster(address or "local", error) from error
    try:
        yield address is None
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ask what Ray itself would for minutes.

    Raises:
        ConfigError: nothing listens at HOST:PORT.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ConfigError:
    return ConfigError(
        "cannot connect to a Ray cluster",
        where=f"--address, {ADDRESS}",
        got=f"{address}: {error}".splitlines()[0],
        expected="auto, or HOST:PORT of a cluster that runs",
    )
