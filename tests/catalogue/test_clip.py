from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from cuecard.backbones import VisionBackbone, load_frozen
from cuecard.catalogue.weights.clip import convert_clip
from cuecard.errors import CatalogueError


def drawn() -> Any:
    """A tiny tower for images of 32 x 32, whose products' weights are whole steps by column."""
    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=96,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=1,
        image_size=32,
        patch_size=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = CLIPVisionModelWithProjection(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, 0.2)
            for module in model.modules():
                if isinstance(module, torch.nn.Linear):
                    steps = torch.randint(-120, 121, module.weight.shape)
                    module.weight.copy_(steps * _scales(len(module.weight))[:, None])
    return model


def _scales(columns: int) -> torch.Tensor:
    return 2.0 ** -(torch.arange(columns) % 4 + 8.0)


def export(model: Any, path: Path, without: str = "") -> Path:
    """Parameters by name, products' weights [in, out] in 8 bits with a scale for each column."""
    initializers, nodes = [], []
    linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        place, _, part = name.rpartition(".")
        if name == without:
            continue
        if place not in linear or part != "weight":
            initializers.append(numpy_helper.from_array(values, name))
            continue
        stem = f"onnx::MatMul_{len(nodes)}"
        scales = _scales(len(values)).numpy()
        steps = np.round(values.T / scales).astype(np.int16) + 3
        zeros = np.full(len(values), 3, np.int8)
        for end, array in (
            ("_quantized", steps.astype(np.int8)),
            ("_scale", scales),
            ("_zero_point", zeros),
        ):
            initializers.append(numpy_helper.from_array(array, stem + end))
        node = "/" + place.replace(".layers.", ".layers#").replace(".", "/").replace("#", ".")
        inputs = ["input", f"{stem}_quantized", "zero", f"{stem}_zero_point"]
        made = helper.make_node("MatMulInteger", inputs, [stem], name=f"{node}/MatMul_quant")
        nodes.append(made)
    value = helper.make_tensor_value_info("input", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "clip", [value], [], initializers)
    onnx.save(helper.make_model(graph), path)
    return path


def test_the_converted_folder_is_the_model(tmp_path: Path) -> None:
    model, folder, steps = drawn(), tmp_path / "folder", []
    folder.mkdir()
    source = export(model, tmp_path / "model.onnx")
    convert_clip(source, folder, lambda *step: steps.append(step), "Converting")
    assert steps == [("Converting", number, 3) for number in (1, 2, 3)]
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    assert settings["crop_size"] == {"height": 32, "width": 32}
    whole: Any = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, wanted = (m(pixel_values=pixels).image_embeds for m in (whole, model))
    assert torch.equal(found, wanted)
    loaded = load_frozen(folder, dtype="fp32")
    assert isinstance(loaded, VisionBackbone) and loaded.tower.patches == 4


def test_a_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    source = export(drawn(), tmp_path / "model.onnx", without="visual_projection.weight")
    with pytest.raises(CatalogueError, match="weight of CLIP is missing") as caught:
        convert_clip(source, tmp_path / "folder", lambda *step: None, "")
    assert caught.value.expected == "visual_projection.weight"
    assert not list((tmp_path / "folder").iterdir())
