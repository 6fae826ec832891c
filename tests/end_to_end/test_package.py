"""The wheel and the archive that a release publishes: what they hold, and that they install."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support.installs import PROJECT, ROOT

pytest.importorskip("hatchling", reason="`pip install 'cuecard[dev]'` brings it along")
pytest.importorskip("hatch_fancy_pypi_readme", reason="`pip install 'cuecard[dev]'` brings it")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The archive, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    archive = _build(ROOT, folder, "sdist", "*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(folder / "archive", filter="data")
    (source,) = (folder / "archive").iterdir()
    return archive, _build(source, folder, "wheel", "*.whl")


def _build(source: Path, folder: Path, target: str, pattern: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob(pattern)
    return made


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as content:
        (name,) = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        return HeaderParser().parsestr(content.read(name).decode())


def in_the_tree(folder: str) -> set[str]:
    """What git has or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in names.split("\0") if name and (ROOT / name).exists()}


def test_they_hold_the_source_and_nothing_else(built: tuple[Path, Path]) -> None:
    archive, wheel = built
    with tarfile.open(archive) as content:
        packed = {name.partition("/")[2] for name in content.getnames()}
    with zipfile.ZipFile(wheel) as content:
        installed = {f"src/{name}" for name in content.namelist() if ".dist-info/" not in name}
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: nothing says which files are the source")
    source = in_the_tree("src")
    assert installed == source and packed >= source
    assert {"LICENSE", "README.md", "constraints.txt", "deploy/Dockerfile", "pyproject.toml"} <= (
        packed
    )


def test_its_page_on_an_index_leads_to_the_repository(built: tuple[Path, Path]) -> None:
    found = metadata(built[1])
    addresses = dict(line.split(", ") for line in found.get_all("Project-URL", []))
    assert addresses == PROJECT["urls"]
    repository = addresses["Repository"]
    page = found.get_payload()
    assert isinstance(page, str) and found["Description-Content-Type"].startswith("text/markdown")
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) > 30 and all(link.startswith("https://") for link in links)
    ours = [link for link in links if link.startswith(repository)]
    for link in ours:
        path = re.sub(r"^/(blob|raw)/main/|#.*$", "", link.removeprefix(repository))
        assert (ROOT / path).exists(), link
    assert f"{repository}/raw/main/docs/board.png" in ours


def test_it_asks_for_what_is_declared(built: tuple[Path, Path]) -> None:
    found = metadata(built[1])
    versions = {line.rpartition(" ")[2] for line in found.get_all("Classifier", []) if "3." in line}
    assert versions == {"3.11", "3.12", "3.13", "3.14"}
    asked = [Requirement(line) for line in found.get_all("Requires-Dist", [])]
    plain = {one.name for one in asked if one.marker is None}
    assert plain == {Requirement(line).name for line in PROJECT["dependencies"]}
    assert {*found.get_all("Provides-Extra", [])} == PROJECT["optional-dependencies"].keys()


def test_it_installs_and_runs(built: tuple[Path, Path], tmp_path: Path) -> None:
    place = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-deps", "--no-index", "--no-compile", "--target", str(place)]
    subprocess.run([*pip, *options, str(built[1])], check=True)
    (entry,) = importlib.metadata.Distribution.at(
        next(place.glob("cuecard-*.dist-info"))
    ).entry_points.select(group="console_scripts")
    script = (
        f"import sys; sys.path.insert(0, {str(place)!r}); import {entry.module} as m; "
        f"assert m.__file__.startswith({str(place)!r}), m.__file__; m.{entry.attr}(['--version'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == f"cuecard {PROJECT['version']}", done.stderr
