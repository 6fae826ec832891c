"""The members of a wheel, a .tgz and a .deb."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cuecard.catalogue.archives import unpack
from cuecard.catalogue.convert import convert
from cuecard.catalogue.entries import Package
from cuecard.catalogue.progress import silent
from cuecard.errors import CatalogueError

MEMBERS = {"package/rows.csv": b"a,b\n", "package/more/x.txt": b"x", "package/more/y.txt": b"y"}


def tar(names: dict[str, bytes], mode: str, before: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in names.items():
            member = tarfile.TarInfo(before + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo(f"{before}package/more/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


def deb(names: dict[str, bytes]) -> bytes:
    """As deb(5) has it: an ar archive of three members, each on an even place."""
    data = tar(names, "w:xz", "./")
    whole = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("control.tar", b"odd"),
        ("data.tar.xz", data),
    ):
        whole += f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        whole += content + b"\n" * (len(content) % 2)
    return whole


def package(name: str, *members: str) -> Package:
    return Package("npm", "tiny", "1.0", name, "0" * 64, 1, members)


FILES = {"tiny-1.0.tgz": tar(MEMBERS, "w:gz"), "tiny_1.0_all.deb": deb(MEMBERS)}


@pytest.mark.parametrize("name", FILES)
def test_files_and_folders(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    wanted = package(name, "package/more/", "package/rows.csv")
    folder, rows = unpack(wanted, tmp_path / name, tmp_path / "out")
    assert rows.read_bytes() == b"a,b\n"
    # The link is no file of the archive, so it is not there.
    assert sorted(path.name for path in folder.iterdir()) == ["x.txt", "y.txt"]
    with pytest.raises(KeyError):
        unpack(package(name, "package/other"), tmp_path / name, tmp_path / "again")


@pytest.mark.parametrize("name", FILES)
def test_a_name_that_leads_out(tmp_path: Path, name: str) -> None:
    names = {"package/more/../../../out.txt": b"x"}
    content = tar(names, "w:gz") if name.endswith("tgz") else deb(names)
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="leads out of its folder"):
        unpack(package(name, "package/more/"), tmp_path / name, tmp_path / "a" / "b")
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("cut", [0, 5, 100])
def test_a_damaged_one_is_one_clear_error(
    tmp_path: Path, reviews: Any, name: str, cut: int
) -> None:
    (tmp_path / name).write_bytes(FILES[name][:cut])
    entry = dataclasses.replace(reviews[0], package=package(name, "package/rows.csv"))
    (tmp_path / "room").mkdir()
    with pytest.raises(CatalogueError, match="cannot be converted") as caught:
        convert(entry, [tmp_path / name], tmp_path / "room", silent)
    assert name in (caught.value.hint or "")
