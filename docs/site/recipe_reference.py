"""The keys of every recipe, from the settings' own classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel
from schema_tables import summary, table

from cuecard.methods import METHODS
from cuecard.runs.compare.recipe import CompareRecipe
from cuecard.runs.compiling.recipe import CompileRecipe
from cuecard.runs.few_shot.lm_bff_recipe import DemonstrationRecipe
from cuecard.runs.few_shot.meta_recipe import MetaRecipe
from cuecard.runs.few_shot.pet_recipe import PetRecipe
from cuecard.runs.graphrag.dataset_recipe import DatasetRecipe
from cuecard.runs.graphrag.measure_recipe import MeasureRecipe
from cuecard.runs.graphrag.optimise_recipe import OptimiseRecipe
from cuecard.runs.lora_recipe import LoraRecipe
from cuecard.runs.multitask_recipe import MultitaskRecipe
from cuecard.runs.porting.recipe import PortRecipe
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_file import RunRecipe
from cuecard.runs.search.recipe import SearchRecipe
from cuecard.runs.sweeps.sweep_recipe import SweepRecipe
from cuecard.runs.transfer_recipe import TransferRecipe
from cuecard.runs.vtab_recipe import VtabRecipe
from cuecard.tasks.kinds import KINDS

# Every recipe that a command is started with, in the page's order: one for each kind of run.
RECIPES: tuple[type[RunRecipe], ...] = (
    Recipe,
    VtabRecipe,
    CompareRecipe,
    CompileRecipe,
    DatasetRecipe,
    MeasureRecipe,
    OptimiseRecipe,
    DemonstrationRecipe,
    LoraRecipe,
    MetaRecipe,
    MultitaskRecipe,
    PetRecipe,
    PortRecipe,
    SearchRecipe,
    SweepRecipe,
    TransferRecipe,
)
_BY_NAME = {recipe.__name__: recipe for recipe in RECIPES}


def recipe_page() -> Iterator[str]:
    """A page of Markdown."""
    yield "# Recipes\n\n"
    yield (
        "Everything that a run depends on, as the YAML file that it is started with "
        "(`cuecard train --recipe FILE`) and that its folder keeps. A key that is not known is an "
        "error. Flags of commands have the same names ([commands](cli.md)).\n"
    )
    sections: dict[str, dict[str, object]] = {}
    for recipe in RECIPES:
        schema = recipe.model_json_schema()
        sections |= schema.get("$defs", {})
        yield f"\n## `{recipe.KIND.command}`: {recipe.KIND.file}\n\n{summary(schema)}\n"
        yield from table(schema, _link)
    yield "\n## Sections\n\nWhat tables above and below link to.\n"
    for name in sorted(sections.keys() - _BY_NAME.keys()):
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
    if name not in _BY_NAME:
        return f"[{name}](#{name.lower()})"
    kind = _BY_NAME[name].KIND
    return f"[{kind.file}](#{kind.command.replace(' ', '-')}-{kind.file.replace('.', '-')})"
