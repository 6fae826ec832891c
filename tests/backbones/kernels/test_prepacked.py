"""Weights laid out anew give what the plain ones give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cuecard.backbones.forward.ragged import PrefillChunk
from cuecard.backbones.kernels.prepacked import nbytes, prepacked
from support.tiny import tiny_backbone

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch without oneDNN"
)


@needs_onednn
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_layer_gives_the_same(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 48, bias=bias, dtype=torch.bfloat16).requires_grad_(False)
    forward = prepacked(layer)
    assert forward is not None
    x = torch.randn(1, rows, 32).to(torch.bfloat16)
    with torch.inference_mode():
        torch.testing.assert_close(forward(x), layer(x), atol=0.02, rtol=0.01)


def test_others_stay_as_they_are() -> None:
    assert prepacked(nn.Linear(4, 4)) is None
    assert prepacked(nn.LayerNorm(4, dtype=torch.bfloat16)) is None
    assert nbytes(nn.Sequential(nn.Linear(4, 4))) == 0


@needs_onednn
def test_a_model_in_bfloat16_runs_on_it_if_there_is_room() -> None:
    backbone = tiny_backbone()
    backbone.model.to(torch.bfloat16)
    run = type(backbone)(backbone.model, backbone.tokenizer, "tiny").ragged
    assert run is not None
    weights = nbytes(backbone.model)
    given = backbone.tensors(None)
    chunk = PrefillChunk(run.embed((5, 6, 7, 8), given), (), (3,))
    plain = run.run([], [chunk], keep=False).read[0]
    assert not run.prepack(weights - 1)
    assert not run.prepack(0)
    assert run.prepack(weights)
    found = run.run([], [chunk], keep=False).read[0]
    torch.testing.assert_close(found, plain, atol=0.02, rtol=0.02)
    for module in backbone.model.modules():
        assert "forward" not in vars(module)  # as it was, after the pass


def test_a_model_in_float32_is_not_copied() -> None:
    run = tiny_backbone().ragged
    assert run is not None and not run.prepack(2**30)
