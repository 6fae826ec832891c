"""Kinds of package registries, and the ordinary client of each: pip, npm, apt.

A client is asked to download and never to install, so that the mirror, proxy, certificates and
credentials that the user has set up for it serve the catalogue as well, and nothing of a package is
run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cuecard.catalogue.entries import IndexKind, Package


@dataclass(frozen=True, slots=True)
class Client:
    """What fetches files from one kind of registry.

    Attributes:
        tool: what a user calls it.
        registry: what its registry is called in messages.
        missing: what to do about it where it is not there, in a few words; None where it is.
        between: what stands between a package's name and its version.
        download: the command that puts a package's file into a folder.
        ask: the command that prints the versions of a package without fetching it.
        environment: variables for it, given a folder for what it keeps meanwhile.
        settings: where its settings are, for messages.
        runs_there: whether it must be run in the folder that it is to download into.
    """

    tool: str
    registry: str
    missing: Callable[[], str | None]
    between: str
    download: Callable[[str, Path], Sequence[str]]
    ask: Callable[[Package], Sequence[str]]
    environment: Callable[[Path | None], Mapping[str, str]]
    settings: str
    runs_there: bool = False

    def wanted(self, package: Package) -> str:
        """A package and its version as the client is told them."""
        return f"{package.name}{self.between}{package.version}"


def client_of(package: Package) -> Client:
    """What a package is fetched with."""
    return CLIENTS[package.index]


def _pip(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pip", *arguments]


def _without_pip() -> str | None:
    there = importlib.util.find_spec("pip") is not None
    return None if there else f"`{sys.executable} -m ensurepip`"


def _pip_download(wanted: str, folder: Path) -> list[str]:
    # Nothing is installed, so which Python a package would run on does not matter.
    plain = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--ignore-requires-python"]
    return _pip("download", *plain, "--progress-bar=off", "--dest", str(folder), wanted)


def _pip_environment(room: Path | None) -> dict[str, str]:
    """Without questions and rules meant for installing."""
    env = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env |= {"PIP_REQUIRE_VIRTUALENV": "0", "PIP_REQUIRE_HASHES": "0"}
    env["PIP_RETRIES"] = os.environ.get("PIP_RETRIES", "2")
    if room is not None:
        # With its temporary files in `room`, the download can be watched as it grows.
        env |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(room))
    return env


def _without(tool: str) -> str | None:
    return None if shutil.which(tool) else f"install {tool}"


def _npm(*arguments: str) -> list[str]:
    return [shutil.which("npm") or "npm", *arguments]  # on Windows it is npm.cmd


def _npm_environment(room: Path | None) -> dict[str, str]:
    env = {"npm_config_ignore_scripts": "true", "npm_config_update_notifier": "false"}
    env |= {"npm_config_fund": "false", "npm_config_audit": "false"}
    if room is not None:
        env["npm_config_cache"] = str(room)
    return env


CLIENTS: Mapping[IndexKind, Client] = {
    "pypi": Client(
        tool="pip",
        registry="a Python package index",
        missing=_without_pip,
        between="==",
        download=_pip_download,
        ask=lambda package: _pip("index", "versions", "--ignore-requires-python", package.name),
        environment=_pip_environment,
        settings="pip's index settings (python -m pip config list, PIP_INDEX_URL)",
    ),
    "npm": Client(
        tool="npm",
        registry="an npm registry",
        missing=lambda: _without("npm"),
        between="@",
        download=lambda wanted, folder: _npm("pack", "--pack-destination", str(folder), wanted),
        ask=lambda package: _npm("view", package.name, "versions"),
        environment=_npm_environment,
        settings="npm's settings (npm config get registry)",
    ),
    "debian": Client(
        tool="apt-get",
        registry="Debian's packages",
        missing=lambda: _without("apt-get"),
        between="=",
        download=lambda wanted, folder: ["apt-get", "download", wanted],
        ask=lambda package: ["apt-cache", "madison", package.name],
        environment=lambda room: {"LC_ALL": "C"},
        settings="apt's sources, and that `apt-get update` has been run",
        runs_there=True,
    ),
}
