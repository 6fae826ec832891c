"""A prompt from the command line: its folder, its backbone, and both together."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cuecard.artifacts import Prompt
from cuecard.artifacts.bound import BoundPrompt
from cuecard.backbones.quantization.forms import Precision, Quantize, loadable_form
from cuecard.catalogue import BACKBONES, Progress
from cuecard.catalogue.cache import cache_root, locked
from cuecard.errors import ArtifactError, ConfigError
from cuecard.names import load_backbone
from cuecard.registry import Registry
from cuecard.registry.records.references import is_reference
from cuecard.runs.folder import LORA, RUN
from cuecard.runs.lora_recipe import read_lora
from cuecard.runs.recipe import Recipe, prompt_folder, read_recipe
from cuecard.tasks import TaskSpec
from cuecard.training.train_lora import FOLDER as ADAPTER
from cuecard.types import Backbone


@dataclass(frozen=True)
class Place:
    """Where a prompt lies.

    Attributes:
        folder: the prompt's folder.
        recipe: that of the run it lies in; None for a prompt on its own.
        adapter: the LoRA adapter that was trained beside it in the same run; None for none.
    """

    folder: Path
    recipe: Recipe | None
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


def find_prompt(path: Path, registry: str | None = None) -> Place:
    """The prompt of a run's folder, the prompt's folder itself, or a version in a registry.

    Args:
        path: a folder, or NAME@NUMBER, NAME@ALIAS or NAME@latest where no such folder is. A version
            is pulled into the cache, every byte checked.
        registry: where versions are looked up.

    Raises:
        ArtifactError: a run that has no prompt yet.
        ConfigError: a run whose recipe cannot be read.
        RegistryError: a version that cannot be had.
    """
    if registry is not None and is_reference(str(path)) and not path.exists():
        return Place(_pulled(str(path), registry), None)
    folder = prompt_folder(path)
    run = folder.parent if folder != path or folder.name == "prompt" else folder
    kind = next((kind for kind in (RUN, LORA) if (run / kind.file).is_file()), None)
    if kind is None:
        return Place(folder, None)
    if folder == run:
        raise ArtifactError(
            "the run has no prompt yet",
            where=str(path),
            expected=str(path / "prompt"),
            hint=f"finish it: {kind.command} --resume {shlex.quote(str(path))}",
        )
    stated = run / kind.file
    if kind is LORA:
        return Place(folder, read_lora(stated).recipe, run / ADAPTER)
    return Place(folder, Recipe.parse(read_recipe(stated), str(stated)))


def open_prompt(
    place: Place,
    backbone: str | None,
    *,
    dtype: Precision = "auto",
    device: str = "auto",
    quantize: Quantize | None = None,
    adapter: Path | None = None,
    progress: Progress | None = None,
) -> BoundPrompt:
    """Read a prompt, load the backbone it was made for and bind it there; all checks are run.

    Args:
        place: where it lies; see `find_prompt`.
        backbone: what to load; by default what the prompt names.
        quantize: in which form; by default the one that the prompt was made on.
        adapter: a LoRA adapter's folder; by default the one that the prompt's run was made with.

    Raises:
        ArtifactError: a prompt that cannot be trusted, or not on this backbone.
        BackboneError: the backbone cannot be loaded.
        ConfigError: the prompt alone does not say what to load.
    """
    # The files first: a broken prompt is reported before a model is fetched and loaded.
    alone = place.prompt
    model = backbone_for(
        alone,
        backbone or backbone_name(alone, place),
        dtype=dtype,
        device=device,
        quantize=quantize,
        adapter=adapter or _adapter_of(place),
        progress=progress,
    )
    return alone.bind(model)


def backbone_for(
    prompt: Prompt,
    name: str | None,
    *,
    dtype: Precision,
    device: str,
    quantize: Quantize | None,
    adapter: Path | None,
    progress: Progress | None,
) -> Backbone:
    """The backbone that a prompt was made for, not yet compared with it.

    Args:
        name: what to load; None: what the prompt names, if the catalogue has it.
        quantize: in which form; None: the one that the prompt was made on.
        adapter: a LoRA adapter's folder; None for none, if the prompt needs none.

    Raises:
        BackboneError: it cannot be loaded.
        ConfigError: the prompt alone does not say what to load.
    """
    needed = prompt.manifest.backbone.fingerprint.adapter
    if adapter is None and needed != "none":
        raise ConfigError(
            "the prompt was made on a model with a LoRA adapter",
            where=prompt.manifest.backbone.name,
            got="no adapter",
            expected=f"--adapter with the folder of the adapter {needed}",
        )
    return load_backbone(
        name or backbone_name(prompt, None),
        dtype=dtype,
        device=device,
        quantize=quantize or loadable_form(prompt.manifest.backbone.fingerprint.quantize),
        adapter=adapter,
        progress=progress,
    )


def backbone_name(prompt: Prompt, place: Place | None) -> str:
    """What to load for a prompt when nobody says.

    A prompt may come from anyone, so the name in it is followed into the catalogue alone, never to
    a path or a download; a run's own recipe is followed anywhere.

    Raises:
        ConfigError: neither of them.
    """
    named = prompt.manifest.backbone.name
    if named in BACKBONES:
        return named
    if place is not None and place.recipe is not None:
        return place.recipe.backbone
    raise ConfigError(
        "the prompt's backbone is not in the catalogue, and names from a file are not followed",
        where=None if place is None else str(place.folder),
        got=named,
        expected="--backbone with a name, a folder or a hub id",
        hint=f"if you trust it: --backbone {shlex.quote(named)}",
    )


def _adapter_of(place: Place) -> Path | None:
    """The adapter that a prompt's own run has or names; no path of another file is followed."""
    if place.adapter is not None:
        return place.adapter
    named = None if place.recipe is None else place.recipe.adapter
    return None if named is None else Path(named)


def _pulled(reference: str, place: str) -> Path:
    """A version's folder in the cache, named by its content."""
    registry = Registry(place)
    version = registry.resolve(reference)
    contents = registry.read(version)
    folder = cache_root() / "versions" / version.record.content
    with locked(folder):
        return contents.write(folder, overwrite=True)
