"""The site of docs/: every page has its place, and references are made of the code."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import cuecard
from cuecard.cli.main import COMMANDS
from support.installs import PROJECT, ROOT

DOCS = ROOT / "docs"


def test_every_page_is_in_the_index() -> None:
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert len(listed) == len({*listed})
    assert {*listed} == pages | {"reference/cli", "reference/api"}


def test_references_have_every_command_and_every_public_name(tmp_path: Path) -> None:
    runpy.run_path(str(DOCS / "site" / "references.py"))["write_references"](tmp_path)
    commands = (tmp_path / "cli.md").read_text()
    listed = re.findall(r"^### `cuecard ([\w -]+)`$", commands, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
    assert commands.count("Usage: cuecard ") == len(COMMANDS)
    assert "Usage: cuecard graphrag tune [OPTIONS] [CORPUS]" in commands
    api = (tmp_path / "api.rst").read_text()
    names = re.findall(r"auto(?:class|function):: cuecard\.(\w+)", api)
    called = {name for name in cuecard.__all__ if callable(getattr(cuecard, name))}
    assert {*names} == called and len(names) == len(called)


@pytest.mark.slow
@pytest.mark.integration
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for module in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(module, reason="`make docs` installs it")
    options = ["--fail-on-warning", "--keep-going", "-q", "-c", str(DOCS / "site")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    methods = (tmp_path / "site" / "methods.html").read_text()
    assert "<h1>Methods" in methods
    api = (tmp_path / "site" / "reference" / "api.html").read_text()
    assert 'id="cuecard.Task"' in api and 'id="cuecard.Task.from_file"' in api
    tasks = (tmp_path / "site" / "tasks.html").read_text()
    assert f"{PROJECT['urls']['Repository']}/blob/main/src/cuecard/tasks/kinds/base.py" in tasks
