"""The site of docs/: every page has its place, and references are made of the code."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import cuecard
from cuecard.cli.main import COMMANDS
from cuecard.methods import METHODS
from cuecard.registry import Registry
from cuecard.runs import run_kinds
from cuecard.runs.compiling.recipe import CompileRecipe
from cuecard.runs.lora_recipe import LoraRecipe
from cuecard.runs.multitask_recipe import MultitaskRecipe
from cuecard.runs.porting.recipe import PortRecipe
from cuecard.runs.recipe import Recipe
from cuecard.runs.search.recipe import SearchRecipe
from cuecard.runs.sweeps.sweep_recipe import SweepRecipe
from cuecard.settings import alternatives
from cuecard.tasks.kinds import KINDS
from cuecard.training.config import TrainConfig
from support.installs import PROJECT, ROOT
from support.serving.app import running
from support.tiny import tiny_backbone

DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.py"))


def test_every_page_is_in_the_index() -> None:
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert len(listed) == len({*listed})
    references = {"reference/cli", "reference/recipes", "reference/http", "reference/api"}
    notebooks = {f"reference/notebook-{path.stem}" for path in NOTEBOOKS}
    assert {*listed} == pages | references | notebooks


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that are made of the code."""
    folder = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS / "site")
        import_module("references").write_references(folder)
    return folder


def test_references_have_every_command_and_every_public_name(references: Path) -> None:
    commands = (references / "cli.md").read_text()
    listed = re.findall(r"^### `cuecard ([\w -]+)`$", commands, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
    assert commands.count("Usage: cuecard ") == len(COMMANDS)
    assert "Usage: cuecard graphrag tune [OPTIONS] [CORPUS]" in commands
    api = (references / "api.rst").read_text()
    names = re.findall(r"auto(?:class|function):: cuecard\.(\w+)", api)
    called = {name for name in cuecard.__all__ if callable(getattr(cuecard, name))}
    assert {*names} == called and len(names) == len(called)


def keys_of(page: str, heading: str) -> list[str]:
    """The keys in the first table below a heading, in their order."""
    (text,) = re.findall(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.DOTALL | re.MULTILINE
    )
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def settings_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The settings' classes of a class's sections."""
    for field in model.model_fields.values():
        for option in alternatives(field.annotation):
            for inner in (option, *get_args(option)):
                if isinstance(inner, type) and issubclass(inner, BaseModel):
                    yield inner
                    yield from settings_in(inner)


def test_the_reference_has_every_key_of_every_recipe(references: Path) -> None:
    page = (references / "recipes.md").read_text()
    kinds = [kind for kind in vars(run_kinds).values() if isinstance(kind, run_kinds.RunKind)]
    found = re.findall(r"^## `(.+)`: (\S+)$", page, re.MULTILINE)
    assert sorted(found) == sorted((kind.command, kind.file) for kind in kinds)
    recipes = [
        Recipe,
        LoraRecipe,
        SweepRecipe,
        SearchRecipe,
        CompileRecipe,
        PortRecipe,
        MultitaskRecipe,
    ]
    for recipe in recipes:
        heading = f"`{recipe.KIND.command}`: {recipe.KIND.file}"
        assert keys_of(page, heading) == [*recipe.model_fields]
        for section in settings_in(recipe):
            if section is not Recipe:
                assert keys_of(page, section.__name__) == [*section.model_fields]
    for name in METHODS:
        heading = f"`method: {{name: {name}}}`"
        assert keys_of(page, heading) == [*METHODS[name].model_fields], name
    for name, kind in KINDS.items():
        own = kind.settings.model_fields
        assert not own or keys_of(page, f"`task: {{kind: {name}}}`") == [*own]
    line = next(line for line in page.splitlines() if line.startswith("| `batch_rows` "))
    assert "| integer >= 1 | `8` |" in line and TrainConfig().batch_rows == 8


async def description(room: Path) -> Any:
    """What a server says of itself."""
    registry = Registry(str(room / "registry"))
    registry.create()
    async with running(tiny_backbone(), registry, room / "cache") as server:
        return (await server.client.get("/openapi.json")).json


def test_the_reference_has_every_route(references: Path, tmp_path: Path) -> None:
    page = (references / "http.md").read_text()
    told = asyncio.run(description(tmp_path))
    listed = re.findall(r"^## `(\w+) (\S+)`$", page, re.MULTILINE)
    routes = [(m.upper(), path) for path, methods in told["paths"].items() for m in methods]
    assert listed == routes
    for name, schema in told["components"]["schemas"].items():
        assert keys_of(page, name) == [*schema.get("properties", {})], name


def test_notebooks_are_shown_whole(references: Path) -> None:
    for path in NOTEBOOKS:
        page = (references / f"notebook-{path.stem}.md").read_text()
        shown = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        code = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
        assert [line for cell in shown for line in cell.splitlines() if line] == code
        assert page.startswith("# ") and "# %%" not in page


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
