"""The keys of every recipe, from the settings' own classes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

from pydantic import BaseModel
from schema_tables import summary, table

import cuecard.runs
from cuecard.methods import METHODS
from cuecard.runs.recipe_file import RunRecipe
from cuecard.tasks.kinds import KINDS


def recipes() -> list[type[RunRecipe]]:
    """Every recipe that a command is started with, that of `cuecard train` first."""
    for module in pkgutil.walk_packages(cuecard.runs.__path__, "cuecard.runs."):
        importlib.import_module(module.name)
    own = (each for each in _below(RunRecipe) if each.__module__.startswith("cuecard."))
    found = {each for each in own if hasattr(each, "KIND")}
    return sorted(found, key=lambda each: (each.KIND.file != "recipe.yaml", each.KIND.command))


def recipe_page() -> Iterator[str]:
    """A page of Markdown."""
    yield "# Recipes\n\n"
    yield (
        "Everything that a run depends on, as the YAML file that it is started with "
        "(`cuecard train --recipe FILE`) and that its folder keeps. A key that is not known is an "
        "error. Flags of commands have the same names ([commands](cli.md)).\n"
    )
    sections: dict[str, dict[str, object]] = {}
    for recipe in recipes():
        schema = recipe.model_json_schema()
        sections |= schema.get("$defs", {})
        yield f"\n## `{recipe.KIND.command}`: {recipe.KIND.file}\n\n{summary(schema)}\n"
        yield from table(schema, _link)
    own = {recipe.__name__ for recipe in recipes()}
    yield "\n## Sections\n\nWhat tables above and below link to.\n"
    for name in sorted({*sections} - own):
        yield f"\n### {name}\n\n{summary(sections[name])}\n"
        yield from table(sections[name], _link)
    yield from _named("Methods", "method", {name: METHODS[name] for name in METHODS})
    kinds = {name: kind.settings for name, kind in KINDS.items() if kind.settings.model_fields}
    yield from _named("Kinds", "task", kinds)


def _named(title: str, section: str, models: Mapping[str, type[BaseModel]]) -> Iterator[str]:
    """The settings that a section has by the name in it."""
    key = "name" if section == "method" else "kind"
    yield f"\n## {title}\n\nMore keys of `{section}`, by its `{key}`.\n"
    for name, model in models.items():
        about = getattr(model, "about", "")
        yield f"\n### `{section}: {{{key}: {name}}}`\n\n{about}\n"
        yield from table(model.model_json_schema(), _link)


def _link(name: str) -> str:
    files = {recipe.__name__: recipe for recipe in recipes()}
    if name not in files:
        return f"[{name}](#{name.lower()})"
    kind = files[name].KIND
    return f"[{kind.file}](#{kind.command.replace(' ', '-')}-{kind.file.replace('.', '-')})"


def _below(model: type[RunRecipe]) -> Iterator[type[RunRecipe]]:
    for each in model.__subclasses__():
        yield each
        yield from _below(each)
