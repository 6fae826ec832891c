"""dinov2-small as the catalogue makes it: against onnxruntime, and as a backbone."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from cuecard.backbones import VisionBackbone
from cuecard.catalogue import BACKBONES, DATASETS
from cuecard.catalogue.fetch import package_path
from cuecard.names import load_backbone
from cuecard.runs.recipe import Recipe, run_recipe
from support.tiny_vision import pictures

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.usefixtures("own_cache")]

ENTRY = BACKBONES["dinov2-small"]
STATES, POSITIONS = "/norm/Add_1_output_0", "/Concat_4_output_0"


@pytest.fixture(scope="module")
def backbone(own_cache: None) -> VisionBackbone:
    found = load_backbone("dinov2-small", dtype="fp32", device="cpu")
    assert isinstance(found, VisionBackbone)
    return found


def test_the_packaged_export_gives_the_same_to_rounding(backbone: VisionBackbone) -> None:
    """With the export's own positions, which it brings to 16 x 16 linearly: states of up to 23."""
    with zipfile.ZipFile(package_path(ENTRY.package)) as archive:
        model = onnx.load_from_string(archive.read(ENTRY.package.members[0]))
    for name in (STATES, POSITIONS):
        model.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    pixels = backbone.processor.pixels([record.images[0] for record in pictures(3)])
    found = session.run([STATES, POSITIONS], {"input": pixels.numpy()})
    wanted, positions = map(torch.from_numpy, found)
    embeddings: Any = backbone.model.embeddings
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        cubic = backbone.model(pixel_values=pixels).last_hidden_state
        patch.setattr(embeddings, "interpolate_pos_encoding", lambda *_: positions)
        ours = backbone.model(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(ours, wanted, atol=5e-3, rtol=1e-3)
    torch.testing.assert_close(ours[:, 0], wanted[:, 0], atol=2e-4, rtol=1e-4)
    # The cubics of transformers and of the authors change little of what is read.
    alike = torch.nn.functional.cosine_similarity(cubic[:, 0], wanted[:, 0])
    assert float(alike.min()) > 0.98


def test_its_parts(backbone: VisionBackbone) -> None:
    assert sum(p.numel() for p in backbone.model.parameters()) == ENTRY.parameters
    assert (backbone.tower.front, backbone.tower.patches) == (1, 256)
    assert (backbone.hidden_size, backbone.num_layers) == (384, 12)
    assert backbone.tower.uses("layernorm.weight") and not backbone.tower.uses("x")


def test_a_set_of_the_catalogue_by_its_name(backbone: VisionBackbone, tmp_path: Path) -> None:
    """As `cuecard train fashion-mnist --kind image-classification --backbone dinov2-small`."""
    recipe = Recipe.parse(
        {
            "data": {"path": "fashion-mnist", "limit": 24, "held_out_limit": 12},
            "task": {"kind": "image-classification"},
            "backbone": "dinov2-small",
            "method": {"name": "deep-prompts", "length": 2},
            "training": {"steps": 2, "batch_rows": 4},
            "out": str(tmp_path / "run"),
        }
    )
    found = run_recipe(recipe)
    assert set(found.task.spec.labels) == set(DATASETS["fashion-mnist"].labels)
    parts = (found.task.train, found.task.validation, found.task.test)
    assert [len(rows) for rows in parts] == [24, 12, 12]
    assert found.run.test is not None and len(found.run.test.records) == 12
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {"nearest_mean", "linear_probe"} <= report.keys()
    assert found.run.prompt.manifest.backbone.name == "dinov2-small"
