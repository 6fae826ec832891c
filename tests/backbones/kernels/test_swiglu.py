from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cuecard.backbones.kernels.fused import Fused
from cuecard.backbones.kernels.swiglu import SwiGlu, gated_mlp
from support.tiny import tiny_model


def test_values_and_gradients() -> None:
    gate, up = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    expected = nn.functional.silu(gate) * up
    torch.testing.assert_close(SwiGlu.apply(gate, up), expected)
    assert torch.autograd.gradcheck(SwiGlu.apply, (gate, up))


@pytest.mark.parametrize(("kind", "found"), [("llama", 2), ("gemma2-softcap", 0), ("gpt2", 0)])
def test_found_by_what_they_do(kind: str, found: int) -> None:
    assert len(Fused(tiny_model(kind), [gated_mlp])) == found


def test_a_mlp_gives_what_it_gave_and_the_same_gradient() -> None:
    (mlp,) = [m for m in tiny_model().modules() if type(m).__name__ == "LlamaMLP"][:1]
    fused = Fused(mlp, [gated_mlp])
    x = torch.randn(2, 7, 32, requires_grad=True)

    def run() -> tuple[Any, Any]:
        out = mlp(x)
        return out.detach(), torch.autograd.grad(out.sin().sum(), x)[0]

    plain = run()
    with fused.running():
        torch.testing.assert_close(run(), plain)
