"""CLIP's image tower exported to ONNX, its products in 8 bits -> a folder in the hub's layout.

The export's names are those of transformers, so that the tower and its projection
(`CLIPVisionModelWithProjection`) are taken as they are, weights made whole again:
(q - zero) * scale. The export also rounds what goes into each product; the folder does not, see
`tests/integration/test_clip.py` for how far they are apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cuecard.catalogue.progress import Progress
from cuecard.catalogue.weights.hub_folder import (
    Floats,
    image_processor,
    write_json,
    write_weights,
)
from cuecard.catalogue.weights.onnx_weights import onnx_parameters
from cuecard.errors import CatalogueError

_HEAD = 64  # the size of an attention head, in every ViT of CLIP
# https://github.com/openai/CLIP, `clip/clip.py`, `_transform`.
_MEAN = [0.48145466, 0.4578275, 0.40821073]
_STD = [0.26862954, 0.26130258, 0.27577711]


def convert_clip(source: Path, folder: Path, progress: Progress, label: str) -> None:
    """Write `config.json`, `model.safetensors` (float32) and the image processor.

    Args:
        source: the ONNX file.
        folder: an existing, empty folder.
        progress: called after each of the files.
        label: what to call the work there.

    Raises:
        CatalogueError: weights that are not those of CLIP's image tower.
    """
    weights = onnx_parameters(source)
    progress(label, 1, 3)
    try:
        config = _config(weights)
    except KeyError as error:
        raise CatalogueError(
            "a weight of CLIP is missing", where=source.name, expected=str(error.args[0])
        ) from error
    write_weights(folder, weights)
    progress(label, 2, 3)
    write_json(folder / "config.json", config)
    side = config["image_size"]
    processor = image_processor("CLIPImageProcessor", side, side, _MEAN, _STD)
    write_json(folder / "preprocessor_config.json", processor)
    progress(label, 3, 3)


def _config(weights: Mapping[str, Floats]) -> dict[str, Any]:
    """The sizes, read off the weights."""
    tower, layer = "vision_model", "vision_model.encoder.layers"
    width, colours, patch, _ = weights[f"{tower}.embeddings.patch_embedding.weight"].shape
    places = len(weights[f"{tower}.embeddings.position_embedding.weight"]) - 1
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "intermediate_size": len(weights[f"{layer}.0.mlp.fc1.weight"]),
        "projection_dim": len(weights["visual_projection.weight"]),
        "num_hidden_layers": len({n.split(".")[3] for n in weights if n.startswith(layer)}),
        "num_attention_heads": width // _HEAD,
        "num_channels": colours,
        "image_size": patch * round(places**0.5),
        "patch_size": patch,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "torch_dtype": "float32",
    }
