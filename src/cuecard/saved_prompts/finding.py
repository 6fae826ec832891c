"""Saved prompts, wherever they lie: in a run, in a folder of their own, or in a registry."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from cuecard.artifacts import Prompt
from cuecard.backbones.adapters.adapter import NO_ADAPTER
from cuecard.backbones.adapters.peft_folder import RUN_FOLDER
from cuecard.catalogue.cache import cache_root, locked
from cuecard.errors import ArtifactError, RegistryError
from cuecard.registry import Registry
from cuecard.registry.records.references import is_reference
from cuecard.runs.few_shot.lm_bff_recipe import DemonstrationRecipe
from cuecard.runs.few_shot.pet_recipe import PetRecipe
from cuecard.runs.lora_recipe import LoraRecipe
from cuecard.runs.recipe import AroundRecipe, Recipe
from cuecard.runs.recipe_method import prompt_folder
from cuecard.runs.run_kinds import (
    COMPILE,
    LM_BFF,
    LORA,
    PET,
    RUN,
    SEARCH,
    SWEEP,
    TRANSFER,
    RunKind,
)
from cuecard.runs.search.recipe import SearchRecipe
from cuecard.tasks import TaskSpec


@dataclass
class SavedPrompt:
    """A prompt in a folder, and what its run knows of it.

    Attributes:
        folder: the prompt's folder.
        recipe: that of the run it lies in; None for a prompt on its own.
        adapter: the LoRA adapter that was trained beside it in the same run; None for none.
    """

    folder: Path
    recipe: Recipe | None = None
    adapter: Path | None = None

    @cached_property
    def prompt(self) -> Prompt:
        """The prompt, read and parsed once. Rows can be checked against its task without a model.

        Raises:
            ArtifactError: a prompt that cannot be trusted.
        """
        return Prompt.load(self.folder)

    @property
    def spec(self) -> TaskSpec:
        """The prompt's task."""
        return self.prompt.spec

    @property
    def text_field(self) -> str | None:
        """The column that the run read its texts from."""
        return None if self.recipe is None else self.recipe.data.text_field


def find_prompt(path: str | Path, registry: str | None = None) -> SavedPrompt:
    """Find the prompt of a run, a prompt's own folder, or a version in a registry.

    Of a sweep or a transfer it is that of the run that was chosen.

    Args:
        path: a folder, or NAME@NUMBER, NAME@ALIAS or NAME@latest where no such folder is. A version
            is pulled into the cache, every byte checked.
        registry: where versions are looked up.

    Raises:
        ArtifactError: a run that has no prompt yet.
        ConfigError: a run whose recipe cannot be read.
        RegistryError: a version that cannot be had.
    """
    path = Path(path)
    if registry is not None and is_reference(str(path)) and not path.exists():
        return pulled_prompt(str(path), registry)
    path = _chosen_run(path)
    folder = prompt_folder(path)
    run = folder.parent if folder != path or folder.name == "prompt" else folder
    kind = next((kind for kind in _WITH_PROMPT if (run / kind.file).is_file()), None)
    if kind is None:
        return SavedPrompt(folder)
    if kind is SEARCH:
        _refuse_of_llm(run, path)
    if folder == run:
        raise ArtifactError(
            "the run has no prompt yet",
            where=str(path),
            expected=str(path / ("best" if kind in _CHOOSING else "prompt")),
            hint=f"finish it: {kind.command} --resume {shlex.quote(str(path))}",
        )
    stated = run / kind.file
    if kind in _RECIPES:
        adapter = run / RUN_FOLDER if kind is LORA else None
        return SavedPrompt(folder, _RECIPES[kind].read(stated).recipe, adapter)
    if kind is not RUN:
        return SavedPrompt(folder)
    recipe = Recipe.read(stated)
    saved = SavedPrompt(folder, recipe)
    if recipe.allow and saved.prompt.manifest.backbone.fingerprint.adapter != NO_ADAPTER:
        saved.adapter = run / RUN_FOLDER  # LoRA raced, and was better
    return saved


# Runs that choose one of several, which they leave in a folder of its own.
_CHOOSING = (SWEEP, TRANSFER)
# Runs around one of `cuecard train`, whose recipe they hold.
_RECIPES: Mapping[RunKind, type[AroundRecipe]] = MappingProxyType(
    {LORA: LoraRecipe, SEARCH: SearchRecipe, PET: PetRecipe, LM_BFF: DemonstrationRecipe}
)
_WITH_PROMPT = (RUN, *_RECIPES, COMPILE, *_CHOOSING)


def _chosen_run(path: Path) -> Path:
    """The run that a sweep or a transfer has chosen; any other path as it is."""
    chose = any((path / kind.file).is_file() for kind in _CHOOSING)
    return path / "best" if chose and (path / "best" / RUN.file).is_file() else path


def _refuse_of_llm(run: Path, path: Path) -> None:
    """
    Raises:
        ArtifactError: a search whose words were found for an LLM.
    """
    solver = SearchRecipe.read(run / SEARCH.file).solver
    if solver is not None and (run / "prompt.txt").is_file():
        raise ArtifactError(
            "this prompt was found for an LLM, which no backbone here stands in for",
            where=str(path),
            got=f"answered by {solver.model}{f' at {solver.url}' if solver.url else ''}",
            hint=f"its words are in {run / 'prompt.txt'}, its score on test rows in "
            f"{run / 'search.md'}; for a backbone, search without {solver.FLAG}",
        )


def load_prompt(place: str | Path, *, registry: str | None = None) -> Prompt:
    """Load a saved prompt; `bind` it to its backbone to ask it.

    Args:
        place: a prompt's folder, a run's folder, or, with a registry, a version such as
            tickets@3, tickets@production or tickets@latest.
        registry: the folder or address of the registry that a version is pulled from.

    Raises:
        ArtifactError: no prompt there, or one that cannot be trusted.
        RegistryError: a version that cannot be had.
        ConfigError: a run whose recipe cannot be read.
    """
    return find_prompt(place, registry).prompt


def pulled_prompt(reference: str, url: str) -> SavedPrompt:
    """A version, in a folder of the cache that is named by its content."""
    registry = Registry(url)
    try:
        version = registry.resolve(reference)
    except RegistryError:
        registry.must_exist()  # it says that better
        raise
    package = registry.read(version)
    folder = cache_root() / "versions" / version.record.content
    with locked(folder):
        found = SavedPrompt(package.write(folder, overwrite=True))
    found.prompt = package.prompt
    return found
