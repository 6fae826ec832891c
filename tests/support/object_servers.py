"""Servers of object stores on loopback: each a process of its own, ended by its own id."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

_HERE = Path(__file__).parent
AZURITE = Path(__file__).parents[2] / ".azurite" / "node_modules" / ".bin" / "azurite-blob"
"""Where `make test-azure` installs it."""

# Of every Azurite, as Microsoft publishes them.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def object_server(script: str, *words: str) -> Iterator[int]:
    """A server of this folder that prints its port first, with a bucket `registries`; its port."""
    command = [sys.executable, str(_HERE / script), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            bucket = urllib.request.Request(f"http://127.0.0.1:{port}/registries", method="PUT")
            with urllib.request.urlopen(bucket, timeout=60):
                yield port
        finally:
            server.terminate()


@contextmanager
def azurite(program: Path) -> Iterator[Mapping[str, str]]:
    """Azurite with a container `registries`; what the environment has to say of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--blobPort", str(port), "--silent", "--skipApiVersionCheck"]
    command += ["--inMemoryPersistence", "--disableTelemetry"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            _make_container(port, server)
            yield {
                "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
                "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{_ACCOUNT}",
            }
        finally:
            server.terminate()


def _make_container(port: int, server: subprocess.Popen[bytes]) -> None:
    """Ask until the server answers."""
    for _ in range(300):
        assert server.poll() is None, "Azurite ended by itself"
        try:
            with urllib.request.urlopen(_signed(port, "registries"), timeout=60):
                return
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.2)
    raise AssertionError("Azurite does not answer")


def _signed(port: int, container: str) -> urllib.request.Request:
    """A request that creates a container, signed with the account's key ("Shared Key")."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    own = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    path = f"/{_ACCOUNT}/{container}"
    text = f"PUT\n\n\n\n\n\n\n\n\n\n\n\n{own}/{_ACCOUNT}{path}\nrestype:container"
    digest = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}"
    url = f"http://127.0.0.1:{port}{path}?restype=container"
    return urllib.request.Request(url, method="PUT", headers=headers)
