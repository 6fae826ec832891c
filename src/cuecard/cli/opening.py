"""A saved prompt and the backbone it was made for, opened together."""

from __future__ import annotations

import shlex
from pathlib import Path

from cuecard.artifacts import Prompt
from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.backbones.quantization.forms import Precision, Quantize, loadable_form
from cuecard.catalogue import BACKBONES, Progress
from cuecard.errors import ConfigError
from cuecard.names import load_backbone
from cuecard.saved_prompts import SavedPrompt
from cuecard.types import Backbone


def open_prompt(
    place: SavedPrompt,
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


def backbone_name(prompt: Prompt, place: SavedPrompt | None) -> str:
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


def _adapter_of(place: SavedPrompt) -> Path | None:
    """The adapter that a prompt's own run has or names; no path of another file is followed."""
    if place.adapter is not None:
        return place.adapter
    named = None if place.recipe is None else place.recipe.adapter
    return None if named is None else Path(named)
