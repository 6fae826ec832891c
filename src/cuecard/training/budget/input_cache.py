"""Where the keys and values of inputs are cached that no prompt comes before."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import psutil

from cuecard.training.config import Inputs
from cuecard.types import Backbone, Encoded

Place = Literal["memory", "disk", "recompute"]
FILE = "inputs.bin"

# How much of what is free a cache may take.
_SHARE = 0.25


def choose_place(wanted: Inputs, nbytes: int, folder: Path | None) -> Place:
    """Memory, then disk, as far as there is room; else the inputs are run every time."""
    if wanted != "auto":
        return "memory" if wanted == "disk" and folder is None else wanted
    if nbytes <= _SHARE * psutil.virtual_memory().available:
        return "memory"
    if folder is not None and nbytes <= _SHARE * shutil.disk_usage(folder).free:
        return "disk"
    return "recompute"


def cache_inputs(
    backbone: Backbone,
    rows: Sequence[Encoded],
    wanted: Inputs,
    folder: Path | None,
    chosen: str | None = None,
) -> dict[str, int | str]:
    """Let the backbone keep what comes before the rows' slots, or an encoder's whole input.

    Args:
        rows: those that are run in every epoch.
        chosen: the place that the run chose before it was resumed; it is kept, since keys and
            values that are computed with other rows differ in their last bits.

    Returns:
        The place, the tokens kept and their bytes; empty where there is hardly anything to keep.
    """
    whole = not backbone.causal
    inputs = [row.context if whole else row.context[: row.slot] for row in rows]
    cache = backbone.remember(inputs)
    front = () if cache is None else cache.front_ids
    if len(set(filter(None, inputs))) < 2 and not front:  # a word or two before an early prompt
        backbone.remember(())
        return {}
    if cache is None:
        return {"place": "recompute", "tokens": 0, "bytes": 0}
    place = chosen or choose_place(wanted, cache.nbytes, folder)
    if place == "recompute":  # but for what all of them begin with
        backbone.remember((front,) if front else ())
    elif place == "disk" and folder is not None:
        cache = backbone.remember(inputs, folder / FILE) or cache
    return {"place": place, "tokens": cache.tokens, "bytes": cache.nbytes}
