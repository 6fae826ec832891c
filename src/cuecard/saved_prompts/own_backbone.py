"""The backbone that a saved prompt was made for."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from cuecard.artifacts import Prompt
from cuecard.backbones.adapters.adapter import NO_ADAPTER
from cuecard.backbones.quantization.forms import Precision, Quantize, loadable_form
from cuecard.catalogue import BACKBONES, Progress
from cuecard.errors import ConfigError
from cuecard.names import load_backbone
from cuecard.saved_prompts.finding import SavedPrompt
from cuecard.types import Backbone


class OwnBackbone(NamedTuple):
    """What to load for a prompt.

    Attributes:
        name: a catalogue name, a folder or a hub id.
        quantize: how its weights are stored.
        adapter: the folder of the LoRA adapter that is merged into it; None for none.
    """

    name: str | Path
    quantize: Quantize
    adapter: str | Path | None


def load_own_backbone(
    prompt: Prompt,
    saved: SavedPrompt | None = None,
    name: str | Path | None = None,
    *,
    dtype: Precision = "auto",
    device: str = "auto",
    quantize: Quantize | None = None,
    adapter: str | Path | None = None,
    progress: Progress | None = None,
) -> Backbone:
    """Load the backbone that a prompt was made for; `Prompt.bind` compares the two.

    Args:
        saved: where the prompt lies, which may say what to load and which adapter it needs.
        name: what to load instead of what the prompt or its run names.
        quantize: by default as the prompt was made on.
        adapter: by default the run's own.
        dtype, device, progress: as in `load_backbone`.

    Raises:
        BackboneError: it cannot be loaded.
        ConfigError: the prompt alone does not say what to load.
    """
    found = own_backbone(prompt, saved, name, quantize=quantize, adapter=adapter)
    return load_backbone(
        found.name,
        dtype=dtype,
        device=device,
        quantize=found.quantize,
        adapter=found.adapter,
        progress=progress,
    )


def own_backbone(
    prompt: Prompt,
    saved: SavedPrompt | None = None,
    name: str | Path | None = None,
    *,
    quantize: Quantize | None = None,
    adapter: str | Path | None = None,
) -> OwnBackbone:
    """What `load_own_backbone` loads.

    Raises:
        ConfigError: the prompt alone does not say it.
    """
    made_on = prompt.manifest.backbone
    adapter = adapter or _adapter_of(saved)
    if adapter is None and made_on.fingerprint.adapter != NO_ADAPTER:
        raise ConfigError(
            "the prompt was made on a model with a LoRA adapter",
            where=made_on.name,
            got="no adapter",
            expected="adapter= (--adapter) with the folder of the adapter "
            f"{made_on.fingerprint.adapter}",
        )
    quantize = quantize or loadable_form(made_on.fingerprint.quantize)
    return OwnBackbone(name or _backbone_name(prompt, saved), quantize, adapter)


def _backbone_name(prompt: Prompt, saved: SavedPrompt | None) -> str:
    """What to load for a prompt when nobody says.

    A prompt may come from anyone, so the name in it is followed into the catalogue alone, never to
    a path or a download; a run's own recipe is followed anywhere.

    Raises:
        ConfigError: neither of them.
    """
    named = prompt.manifest.backbone.name
    if named in BACKBONES:
        return named
    if saved is not None and saved.recipe is not None:
        return saved.recipe.backbone
    raise ConfigError(
        "the prompt's backbone is not in the catalogue, and names from a file are not followed",
        where=None if saved is None else str(saved.folder),
        got=named,
        expected="backbone= (--backbone) with a name, a folder or a hub id",
        hint=f"if you trust it: backbone={named!r} (--backbone {shlex.quote(named)})",
    )


def _adapter_of(saved: SavedPrompt | None) -> Path | None:
    """The adapter that a prompt's own run has or names; no path of another file is followed."""
    if saved is None or saved.adapter is not None:
        return None if saved is None else saved.adapter
    named = None if saved.recipe is None else saved.recipe.adapter
    return None if named is None else Path(named)
