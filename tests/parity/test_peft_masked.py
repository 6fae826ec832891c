"""PEFT as the oracle of masked models: as it puts prompts, before what opens every text.

PEFT has no task of masks; its features of a model with a masked-LM head are that head's logits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import Tensor

from cuecard.tasks import collate
from cuecard.types import Encoded, Injection, InputTokens, Placement, PrefixKV
from support.data.reviews import MASKED_SPEC, reviews
from support.oracles.masked import with_masks
from support.tiny import MASKED, tiny_backbone, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

LENGTH = 5


def rows_on(backbone: Any) -> list[Encoded]:
    rows = [MASKED_SPEC.encode(record, backbone.tokenizer) for record in reviews(4)]
    return [replace(row, placement=Placement()) for row in rows]


def theirs(model: Any, rows: list[Encoded], shift: int) -> Tensor:
    """[N, V] the logits at the rows' masks."""
    ids = [with_masks(row, 1)[0] for row in rows]
    width = max(map(len, ids))
    given = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    found = model(input_ids=given, attention_mask=mask).logits
    return torch.stack([found[i, row.mask + shift] for i, row in enumerate(rows)])


def check(ours: Injection, mine: Tensor, backbone: Any, expected: Tensor, given: Tensor) -> None:
    """Logits and gradients are PEFT's."""
    batch = collate([(row, ()) for row in rows_on(backbone)], read="next")
    found = backbone.forward(batch, ours)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad((found * weights).sum(), mine)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), given)
    assert float(wanted.abs().max()) > 1e-3
    torch.testing.assert_close(gradient, wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", MASKED)
def test_prompt_tuning(kind: str) -> None:
    config = PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=LENGTH)
    peft: Any = get_peft_model(tiny_model(kind), config).eval()
    weight = peft.prompt_encoder["default"].embedding.weight
    backbone, vectors = tiny_backbone(kind), weight.detach().clone().requires_grad_()
    expected = theirs(peft, rows_on(backbone), LENGTH)
    check(InputTokens(vectors), vectors, backbone, expected, weight)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_prefix_tuning(kind: str) -> None:
    """Positions begin behind the prefix; ModernBERT takes none from PEFT, DeBERTa from nobody."""
    config = PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=LENGTH)
    peft: Any = get_peft_model(tiny_model(kind), config).eval()
    weight = peft.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    backbone, matrix = tiny_backbone(kind), weight.detach().clone().requires_grad_()
    expected = theirs(peft, rows_on(backbone), 0)
    check(PrefixKV.of_matrix(matrix, 2, 4), matrix, backbone, expected, weight)
