"""A published file -> the same file in the cache, by the client of the registry it is in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from cuecard.catalogue.cache import cache_root, locked, publish, require_room, workspace
from cuecard.catalogue.entries import Package
from cuecard.catalogue.indexes import client_of
from cuecard.catalogue.manifest import sha256_of
from cuecard.catalogue.progress import Progress, silent
from cuecard.errors import CatalogueError, ChecksumError

_POLL_SECONDS = 0.2
_UNREACHABLE = (
    *("Retrying (Retry", "Connection", "timed out", "SSLError", "ProxyError"),
    *("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN"),
)
_MISMATCH = ("DO NOT MATCH THE HASHES", "EINTEGRITY", "Hash Sum mismatch")
_RETRY = "a broken transfer or a changed mirror; try again, or use another package index"


def package_path(package: Package) -> Path:
    """Where the file lies once it is fetched; one put there by hand is taken if its digest fits."""
    return cache_root() / "downloads" / package.filename


def fetch(package: Package, *, progress: Progress | None = None) -> Path:
    """Download a package's file once and check its digest.

    Args:
        package: what to fetch.
        progress: called with the bytes so far and the bytes in all, about five times a second.

    Returns:
        The file in the cache. A second call, or a second process, finds it there.

    Raises:
        ChecksumError: the index twice gave other bytes than the published ones; none are kept.
        CatalogueError: no such client, no network, not on this index, or no room on the disk.
    """
    show = progress or silent
    target = package_path(package)
    with locked(target, lambda: show(f"Waiting for another process: {package.filename}", 0, 0)):
        if target.is_file():
            if sha256_of(target) == package.sha256:
                return target
            target.unlink()
        require_room(target, package.size)
        try:
            _download_into_place(package, target, show)
        except CatalogueError:
            # A transfer may break once; what fails twice will fail again.
            _download_into_place(package, target, show)
    return target


def probe_index(package: Package, seconds: float = 30.0) -> str | None:
    """Ask the index for a package without downloading it; what went wrong, or None."""
    client = client_of(package)
    if (remedy := client.missing()) is not None:
        return f"{client.tool} is needed: {remedy}"
    try:
        done = subprocess.run(
            client.ask(package),
            env={**os.environ, **client.environment(None)},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:.0f} seconds"
    if done.returncode != 0:
        return _reason(done.stderr, client.tool)
    return None if package.version in done.stdout else f"no version {package.version}"


def _download_into_place(package: Package, target: Path, show: Progress) -> None:
    label = f"Downloading {package.name} {package.version}"
    with workspace(target) as room:
        _download(package, room, lambda done: show(label, done, package.size))
        publish(_checked(package, room), target)
    show(label, package.size, package.size)


def _download(package: Package, room: Path, show: Callable[[int], None]) -> None:
    """Run the client until `room/files` holds what it found."""
    client = client_of(package)
    if (remedy := client.missing()) is not None:
        raise CatalogueError(
            f"{client.tool} is needed to download this from the catalogue",
            where=client.wanted(package),
            got=f"no {client.tool}",
            hint=f"{remedy}, or put {package.filename} into {package_path(package).parent}",
        )
    files, meanwhile = room / "files", room / "meanwhile"
    for folder in (files, meanwhile):
        folder.mkdir()
    log = room / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            client.download(client.wanted(package), files),
            cwd=files if client.runs_there else None,
            env={**os.environ, **client.environment(meanwhile)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    status = child.wait(_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    show(min(_downloaded(room), package.size))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if status != 0:
        raise _failure(package, log.read_text(encoding="utf-8", errors="replace"))


def _checked(package: Package, room: Path) -> Path:
    """The downloaded file, if it is the published one."""
    path = room / "files" / package.filename
    if not path.is_file():
        found = sorted(item.name for item in (room / "files").glob("*"))
        raise CatalogueError(
            "the index gave another file than the published one",
            where=client_of(package).wanted(package),
            got=", ".join(found) or "nothing",
            expected=package.filename,
        )
    digest = sha256_of(path)
    if digest != package.sha256:
        raise ChecksumError(
            "the downloaded file is not the published one; it was removed",
            where=package.filename,
            got=f"SHA-256 {digest}, {path.stat().st_size} bytes",
            expected=f"SHA-256 {package.sha256}, {package.size} bytes",
            hint=_RETRY,
        )
    return path


def _failure(package: Package, log: str) -> CatalogueError:
    client = client_of(package)
    wanted = client.wanted(package)
    if any(sign in log for sign in _MISMATCH):
        return ChecksumError(
            "the downloaded file is not the one that its index announced; it was removed",
            where=wanted,
            got=_reason(log, client.tool),
            expected=f"SHA-256 {package.sha256}",
            hint=_RETRY,
        )
    unreachable = any(sign in log for sign in _UNREACHABLE)
    return CatalogueError(
        f"the package {'index cannot be reached' if unreachable else 'cannot be downloaded'}",
        where=wanted,
        got=_reason(log, client.tool),
        expected=f"{package.filename}, {package.size / 1e6:.0f} MB, from {client.registry}",
        hint=f"check the network and {client.settings}, or put "
        f"{package.filename} into {package_path(package).parent}",
    )


def _reason(log: str, tool: str) -> str:
    """The line of a client's output that says most."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    faults = [x for x in lines if "error" in x.lower() or "Retrying" in x or x.startswith("E: ")]
    return (faults or lines or [f"{tool} said nothing"])[0][:300]


def _downloaded(room: Path) -> int:
    """Bytes of the file so far: among what the client keeps meanwhile, or in its place."""
    total = 0
    # os.walk passes over folders that a client removes meanwhile; Path.glob does not.
    for folder, _, names in os.walk(room):
        for name in names if folder != str(room) else ():  # the log lies there
            try:
                total += (Path(folder) / name).stat().st_size
            except FileNotFoundError:
                continue  # moved between the listing and the question
    return total
