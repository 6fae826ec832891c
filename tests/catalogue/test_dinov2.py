from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import Dinov2Config, Dinov2Model

from cuecard.backbones import VisionBackbone, load_frozen
from cuecard.catalogue.weights.dinov2 import convert_dinov2
from cuecard.errors import CatalogueError

BLOCKS, WIDTH = 2, 64
_THEIRS = {
    "norm1": "norm1",
    "attn.proj": "attention.o_proj",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


@pytest.fixture(scope="module")
def model() -> Any:
    """A tiny DINOv2 for images of 42 x 42, whose class token is also its position."""
    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=1,
        mlp_ratio=2,
        image_size=42,
        patch_size=14,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: Any = Dinov2Model(config).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.normal_(0.0, 0.2)
            made.embeddings.position_embeddings[:, :1] = made.embeddings.cls_token
    return made


def export(model: Any, path: Path, without: str = "") -> Path:
    """The weights as the authors' code has them, in the nodes and names of torch's ONNX export."""
    own = {name: p.detach().numpy() for name, p in model.named_parameters()}
    named = {
        "cls_token": own["embeddings.cls_token"],
        "patch_embed.proj.weight": own["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": own["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": own["layernorm.weight"],
        "norm.bias": own["layernorm.bias"],
    }
    products = {}
    for number in range(BLOCKS):
        layer = f"encoder.layer.{number}"
        for part in ("weight", "bias"):
            every = {o: own[f"{layer}.{theirs}.{part}"] for o, theirs in _THEIRS.items()}
            three = [own[f"{layer}.attention.{name}_proj.{part}"] for name in "qkv"]
            every["attn.qkv"] = np.concatenate(three)
            for name, values in every.items():
                matrix = part == "weight" and values.ndim == 2
                (products if matrix else named)[f"blocks.{number}.{name}.{part}"] = values
        for scale in ("1", "2"):
            named[f"blocks.{number}.ls{scale}.gamma"] = own[f"{layer}.layer_scale{scale}.lambda1"]
    initializers = [
        numpy_helper.from_array(values, f"model.{name}")
        for name, values in named.items()
        if name != without
    ]
    positions = own["embeddings.position_embeddings"][:, 1:]
    initializers.append(numpy_helper.from_array(positions, "onnx::Reshape_1"))
    nodes = []
    for number, (name, values) in enumerate(products.items()):
        initializers.append(numpy_helper.from_array(values.T.copy(), f"onnx::MatMul_{number}"))
        place = "/" + name.removesuffix(".weight").replace("blocks.", "blocks#").replace(".", "/")
        inputs = ["input", f"onnx::MatMul_{number}"]
        node = f"{place.replace('#', '.')}/MatMul"
        nodes.append(helper.make_node("MatMul", inputs, [f"out{number}"], name=node))
    value = helper.make_tensor_value_info("input", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "dinov2", [value], [], initializers)
    onnx.save(helper.make_model(graph), path)
    return path


def test_the_converted_folder_is_the_model(model: Any, tmp_path: Path) -> None:
    folder, steps = tmp_path / "folder", []
    folder.mkdir()
    source = export(model, tmp_path / "model.onnx")
    convert_dinov2(source, folder, lambda *step: steps.append(step), "Converting")
    assert steps == [("Converting", number, 3) for number in (1, 2, 3)]
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    assert settings["crop_size"] == {"height": 224, "width": 224}
    loaded = load_frozen(folder, dtype="fp32")
    assert isinstance(loaded, VisionBackbone) and loaded.tower.patches == 16 * 16
    pixels = torch.randn(2, 3, 42, 42, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, wanted = (m(pixel_values=pixels).last_hidden_state for m in (loaded.model, model))
    assert torch.equal(found, wanted)


def test_a_weight_that_is_missing_is_named(model: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    source = export(model, tmp_path / "model.onnx", without="blocks.1.ls2.gamma")
    with pytest.raises(CatalogueError, match="weight of DINOv2 is missing") as caught:
        convert_dinov2(source, tmp_path / "folder", lambda *step: None, "")
    assert caught.value.expected == "blocks.1.ls2.gamma"
    assert not list((tmp_path / "folder").iterdir())
