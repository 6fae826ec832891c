"""clip-vit-b16-image as the catalogue makes it: against onnxruntime, and as a backbone."""

from __future__ import annotations

import zipfile
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from cuecard.backbones import VisionBackbone
from cuecard.catalogue import BACKBONES, backbone_folder
from cuecard.catalogue.fetch import package_path
from cuecard.methods import DeepPrompts
from cuecard.names import load_backbone
from cuecard.training import TrainConfig
from cuecard.training.train import train
from support.tiny_vision import drawn_task, pictures

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.usefixtures("own_cache")]

ENTRY = BACKBONES["clip-vit-b16-image"]


@pytest.fixture(scope="module")
def backbone(own_cache: None) -> VisionBackbone:
    found = load_backbone(ENTRY.name, dtype="fp32", device="cpu")
    assert isinstance(found, VisionBackbone)
    return found


def in_steps(x: Tensor) -> Tensor:
    """ONNX's DynamicQuantizeLinear and back: 256 steps over all of a product's input."""
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    step = (high - low) / 255
    zero = (-low / step).round().clamp(0, 255)
    return ((x / step).round().add(zero).clamp(0, 255) - zero) * step


def test_every_product_is_the_packaged_exports(backbone: VisionBackbone) -> None:
    """Each, of what it takes in there, to 0.1% once that is rounded as there; the whole is not.

    The export rounds what goes into each of 73 products to 256 steps, which this model, with the
    same weights, does not: their images' embeddings are as alike as 0.97 (cosine).
    """
    with zipfile.ZipFile(package_path(ENTRY.package)) as archive:
        model = onnx.load_from_string(archive.read(ENTRY.package.members[0]))
    rounded = {n.output[0]: n.input[0] for n in model.graph.node if "Quantize" in n.op_type}
    ends: dict[str, tuple[str, str]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            place = node.name.rpartition("/")[0]
            output = "image_embeds" if "projection" in place else f"{place}/Add_output_0"
            ends[place.strip("/").replace("/", ".")] = rounded[node.input[0]], output
    names = sorted({name for pair in ends.values() for name in pair})
    for name in names:
        if name != "image_embeds":
            model.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    pixels = backbone.processor.pixels([record.images[0] for record in pictures(2)])
    given = session.run(names, {"pixel_values": pixels.numpy()})
    found = dict(zip(names, map(torch.from_numpy, given), strict=True))

    whole: Any = CLIPVisionModelWithProjection.from_pretrained(backbone_folder(ENTRY.name)).eval()
    assert sum(p.numel() for p in whole.parameters()) == ENTRY.parameters
    modules = {
        n.replace("vision_model.vision_model", "vision_model"): m
        for n, m in whole.named_modules()
        if isinstance(m, nn.Linear)
    }
    assert modules.keys() == ends.keys() and len(ends) == 73
    with torch.no_grad():
        for place, (before, after) in ends.items():
            ours, wanted = modules[place](in_steps(found[before])), found[after]
            assert float((ours - wanted).abs().mean() / wanted.abs().mean()) < 1e-3, place
        embeds = whole(pixel_values=pixels).image_embeds
    alike = torch.nn.functional.cosine_similarity(embeds, found["image_embeds"])
    assert float(alike.min()) > 0.97


def test_it_is_a_backbone_for_prompts(backbone: VisionBackbone) -> None:
    assert (backbone.tower.front, backbone.tower.patches) == (1, 196)
    assert (backbone.hidden_size, backbone.num_layers) == (768, 12)
    assert backbone.processor.pixels([pictures(1)[0].images[0]]).shape == (1, 3, 224, 224)
    config = TrainConfig(steps=2, batch_rows=2, eval_every=2)
    run = train(backbone, drawn_task(20), DeepPrompts(length=2), config, progress=False)
    assert run.prompt.manifest.backbone.name == ENTRY.name
