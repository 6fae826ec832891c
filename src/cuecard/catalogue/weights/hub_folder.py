"""Files of a model's folder in the hub's layout, as converters write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

Floats = NDArray[np.float32]


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a configuration, its keys sorted."""
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_weights(folder: Path, weights: Mapping[str, Floats]) -> None:
    """Write `model.safetensors`."""
    tensors = {name: torch.from_numpy(np.array(v, order="C")) for name, v in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def image_processor(
    kind: str, resized: int, side: int, mean: Sequence[float], std: Sequence[float]
) -> dict[str, Any]:
    """The settings of a processor that cuts out an image's middle.

    Args:
        kind: transformers' name of it.
        resized: pixels of an image's shorter side before.
        side: pixels to a side of what is cut out.
        mean, std: of each colour, from 0 to 1.
    """
    return {
        "image_processor_type": kind,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": resized},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [*mean],
        "image_std": [*std],
    }
