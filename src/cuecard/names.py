"""What a user calls a model or a data set -> the thing itself."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from cuecard.backbones.model_folder import find_model
from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.catalogue import (
    BACKBONES,
    Progress,
    backbone_folder,
    dataset_file,
    is_catalogue_name,
)
from cuecard.catalogue.resolve import is_cached
from cuecard.errors import BackboneError, CuecardError
from cuecard.types import Backbone

if TYPE_CHECKING:
    from cuecard.backbones.loading import Place

SENTENCE_ENCODER = "all-minilm-l6-v2"


def load_backbone(
    name: str | Path,
    *,
    dtype: Precision = "auto",
    device: str = "auto",
    quantize: Quantize = "none",
    adapter: str | Path | None = None,
    progress: Progress | None = None,
    place: Place | None = None,
) -> Backbone:
    """Load a frozen backbone by catalogue name, local folder or hub id, in this order.

    Args:
        dtype: "fp32", "bf16" or "auto" (bf16 where the processor multiplies it fast).
        device: a torch device, or "auto".
        quantize: hold the linear layers' weights in 8 or 4 bits: "int8" and "int4" anywhere, with
            the extra `quant`; "nf4" and "llm-int8" on CUDA, with bitsandbytes.
        adapter: the folder of a LoRA adapter in PEFT's format, made for this backbone; it is merged
            into the weights, before these are quantised. A prompt trained on the outcome belongs
            to base and adapter together.
        progress: called with (what, done, total) while the catalogue fetches and converts.
        place: see `load_frozen`.

    Raises:
        AdapterError: an adapter that cannot be trusted, or was made for another model.
        BackboneError: nothing of that name, or a model that cannot be used.
        CatalogueError: a catalogue backbone that cannot be fetched.
    """
    check_backbone_name(name)
    known = str(name)
    # The files before torch and transformers, which a mistake in them need not wait for.
    listed = known in BACKBONES
    folder = find_model(backbone_folder(known, progress) if listed else name)
    from cuecard.backbones.loading import load_frozen  # noqa: PLC0415

    return load_frozen(
        folder,
        name=known if listed else None,
        dtype=dtype,
        device=device,
        quantize=quantize,
        adapter=adapter,
        place=place,
    )


def check_backbone_name(name: str | Path) -> None:
    """Refuse what can be no backbone, before anything is fetched or loaded.

    Raises:
        BackboneError: nothing of that name.
    """
    known = str(name)
    if known not in BACKBONES and not Path(name).exists():
        near = difflib.get_close_matches(known.lower(), BACKBONES, 1, 0.6)
        if near or _cannot_be_hub_id(known):
            raise BackboneError(
                "unknown backbone",
                where="backbone",
                got=known,
                expected="a catalogue name, a local folder or a hub id (owner/name)",
                hint=f"did you mean {near[0]}?" if near else "`cuecard backbones` lists the names",
            )


def sentence_encoder() -> Backbone | None:
    """The catalogue's sentence encoder if it is in the cache and can be loaded, else None.

    Nothing is fetched: only comparisons ask for it, and they can do without it.
    """
    try:
        return (
            load_backbone(SENTENCE_ENCODER, dtype="fp32") if is_cached(SENTENCE_ENCODER) else None
        )
    except CuecardError:
        return None


def data_source(name: str | Path, progress: Progress | None = None) -> str | Path:
    """A catalogue dataset's file, fetched if need be; any other name or path as it is.

    Raises:
        CatalogueError: a catalogue dataset that cannot be fetched.
    """
    known = str(name)
    if is_catalogue_name(known) and known not in BACKBONES and not Path(name).exists():
        return dataset_file(known, progress=progress)
    return name


def _cannot_be_hub_id(name: str) -> bool:
    """Something that looks like a path that is not there, or has no hub id's form."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or " " in name
