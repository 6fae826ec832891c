"""A prompt from the command line: its folder, its backbone, and both together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cuecard.artifacts import Prompt
from cuecard.backbones.loading import Precision
from cuecard.backbones.quantize import Quantize, loadable_form
from cuecard.catalogue import BACKBONES, Progress
from cuecard.errors import ArtifactError, ConfigError
from cuecard.names import load_backbone
from cuecard.recipe import FILE, Recipe, prompt_folder, read_recipe
from cuecard.types import Backbone


@dataclass(frozen=True)
class Place:
    """Where a prompt lies.

    Attributes:
        folder: the prompt's folder.
        recipe: that of the run it lies in; None for a prompt on its own.
    """

    folder: Path
    recipe: Recipe | None

    @property
    def text_field(self) -> str | None:
        """The column that the run read its texts from."""
        return None if self.recipe is None else self.recipe.data.text_field


def find_prompt(path: Path) -> Place:
    """The prompt of a run's folder, or the prompt's folder itself.

    Raises:
        ArtifactError: a run that has no prompt yet.
        ConfigError: a run whose recipe cannot be read.
    """
    folder = prompt_folder(path)
    run = folder.parent if folder != path or folder.name == "prompt" else folder
    stated = run / FILE
    if not stated.is_file():
        return Place(folder, None)
    if folder == run:
        raise ArtifactError(
            "the run has no prompt yet",
            where=str(path),
            expected=str(path / "prompt"),
            hint=f"finish it: cuecard train --resume {path}",
        )
    return Place(folder, Recipe.parse(read_recipe(stated), str(stated)))


def open_prompt(
    path: Path,
    backbone: str | None,
    *,
    dtype: Precision = "auto",
    device: str = "auto",
    quantize: Quantize | None = None,
    progress: Progress | None = None,
) -> tuple[Prompt, Backbone, Place]:
    """Read a prompt and load the backbone it was made for; all checks are run.

    Args:
        backbone: what to load; by default what the prompt names.
        quantize: in which form; by default the one that the prompt was made on.

    Raises:
        ArtifactError: a prompt that cannot be trusted, or not on this backbone.
        BackboneError: the backbone cannot be loaded.
        ConfigError: the prompt alone does not say what to load.
    """
    place = find_prompt(path)
    # The files first: a broken prompt is told before a model is fetched and loaded.
    alone = Prompt.load(place.folder)
    name = backbone or backbone_name(alone, place)
    form = quantize or loadable_form(alone.manifest.backbone.fingerprint.quantize)
    model = load_backbone(name, dtype=dtype, device=device, quantize=form, progress=progress)
    return Prompt.load(place.folder, model), model, place


def backbone_name(prompt: Prompt, place: Place) -> str:
    """What to load for a prompt when nobody says.

    A prompt may come from anyone, so the name in it is followed into the catalogue alone, never to
    a path or a download; a run's own recipe is followed anywhere.

    Raises:
        ConfigError: neither of them.
    """
    named = prompt.manifest.backbone.name
    if named in BACKBONES:
        return named
    if place.recipe is not None:
        return place.recipe.backbone
    raise ConfigError(
        "the prompt's backbone is not in the catalogue, and names from a file are not followed",
        where=str(place.folder),
        got=named,
        expected="--backbone with a name, a folder or a hub id",
        hint=f"if you trust it: --backbone {named}",
    )
