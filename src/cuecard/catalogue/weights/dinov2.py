"""DINOv2 exported to ONNX from its authors' own code -> a folder in the hub's layout.

The export holds queries, keys and values as one product, and the class token's position, which has
the class token's own values, is left out. It brings the 37 x 37 positions to 16 x 16 linearly,
where the authors' code and transformers do so by cubics: the folder has all of them, and with the
export's 16 x 16 it gives what the export gives (`tests/integration/test_dinov2.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cuecard.catalogue.progress import Progress
from cuecard.catalogue.weights.hub_folder import (
    Floats,
    image_processor,
    write_json,
    write_weights,
)
from cuecard.errors import CatalogueError
from cuecard.lazy import lazy_module

if TYPE_CHECKING:
    import onnx
    from onnx import numpy_helper
else:
    onnx = lazy_module("onnx")
    numpy_helper = lazy_module("onnx.numpy_helper")

# Of a block: the export's names, and transformers'.
_BLOCK = {
    "norm1": "norm1",
    "attn.proj": "attention.output.dense",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_HEAD = 64  # the size of an attention head, in every DINOv2
# https://github.com/facebookresearch/dinov2, `dinov2/data/transforms.py`: ImageNet's.
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def convert_dinov2(source: Path, folder: Path, progress: Progress, label: str) -> None:
    """Write `config.json`, `model.safetensors` (float32, which is exact) and the image processor.

    Args:
        source: the ONNX file.
        folder: an existing, empty folder.
        progress: called after each of the files.
        label: what to call the work there.

    Raises:
        CatalogueError: weights that are not DINOv2's.
    """
    weights, positions = _weights(source)
    progress(label, 1, 3)
    try:
        tensors = _renamed(weights, positions)
        config = _config(weights, positions)
    except KeyError as error:
        raise CatalogueError(
            "a weight of DINOv2 is missing", where=source.name, expected=str(error.args[0])
        ) from error
    write_weights(folder, tensors)
    progress(label, 2, 3)
    write_json(folder / "config.json", config)
    processor = image_processor("BitImageProcessor", 256, 224, _MEAN, _STD)
    write_json(folder / "preprocessor_config.json", processor)
    progress(label, 3, 3)


def _weights(source: Path) -> tuple[dict[str, Floats], Floats]:
    """Every weight by its torch name, products as torch's Linear holds them, and the positions."""
    graph = onnx.load(source, load_external_data=False).graph
    values = {t.name: np.asarray(numpy_helper.to_array(t)) for t in graph.initializer}
    found = {n.removeprefix("model."): v for n, v in values.items() if n.startswith("model.")}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in values:
            module = node.name.strip("/").rpartition("/")[0].replace("/", ".")
            found[f"{module}.weight"] = values[node.input[1]].T
    # The positions of the patches are the only other table of vectors.
    tables = [v for n, v in values.items() if not n.startswith("model.") and v.ndim == 3]
    if len(tables) != 1:
        raise CatalogueError(
            "the positions of DINOv2's patches cannot be found",
            where=source.name,
            got=f"{len(tables)} tables of vectors without a name",
            expected=1,
        )
    return found, tables[0]


def _renamed(weights: Mapping[str, Floats], positions: Floats) -> dict[str, Floats]:
    token = weights["cls_token"]
    found = {
        "embeddings.cls_token": token,
        "embeddings.mask_token": np.zeros_like(token[0]),
        "embeddings.position_embeddings": np.concatenate([token, positions], 1),
        "embeddings.patch_embeddings.projection.weight": weights["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": weights["patch_embed.proj.bias"],
        "layernorm.weight": weights["norm.weight"],
        "layernorm.bias": weights["norm.bias"],
    }
    for number in range(_blocks(weights)):
        block, layer = f"blocks.{number}", f"encoder.layer.{number}"
        for part in ("weight", "bias"):
            for ours, theirs in _BLOCK.items():
                found[f"{layer}.{theirs}.{part}"] = weights[f"{block}.{ours}.{part}"]
            three = np.split(weights[f"{block}.attn.qkv.{part}"], 3)
            for name, values in zip(("query", "key", "value"), three, strict=True):
                found[f"{layer}.attention.attention.{name}.{part}"] = values
        for scale in ("1", "2"):
            found[f"{layer}.layer_scale{scale}.lambda1"] = weights[f"{block}.ls{scale}.gamma"]
    return found


def _config(weights: Mapping[str, Floats], positions: Floats) -> dict[str, Any]:
    """The sizes, read off the weights."""
    width, colours, patch, _ = weights["patch_embed.proj.weight"].shape
    inner = weights["blocks.0.mlp.fc1.weight"].shape[0]
    return {
        "architectures": ["Dinov2Model"],
        "model_type": "dinov2",
        "hidden_size": width,
        "num_hidden_layers": _blocks(weights),
        "num_attention_heads": width // _HEAD,
        "mlp_ratio": inner // width,
        "hidden_act": "gelu",
        "image_size": patch * round(positions.shape[1] ** 0.5),
        "patch_size": patch,
        "num_channels": colours,
        "qkv_bias": True,
        "use_swiglu_ffn": False,
        "layer_norm_eps": 1e-6,
        "torch_dtype": "float32",
    }


def _blocks(weights: Mapping[str, Floats]) -> int:
    return len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
