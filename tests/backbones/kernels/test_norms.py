from __future__ import annotations

import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from cuecard.backbones.kernels.fused import Fused
from cuecard.backbones.kernels.norms import RmsNorm, rms_norm


def norm(dtype: torch.dtype = torch.float32) -> LlamaRMSNorm:
    module = LlamaRMSNorm(24, eps=1e-5).to(dtype)
    with torch.no_grad():
        module.weight.normal_(1.0, 0.5, generator=torch.Generator().manual_seed(0))
    return module.requires_grad_(False)


def test_gradient_is_the_modules_own() -> None:
    module = norm()
    x = torch.randn(3, 7, 24, requires_grad=True)
    grad = torch.randn(3, 7, 24)
    (theirs,) = torch.autograd.grad(module(x), x, grad)
    (ours,) = torch.autograd.grad(RmsNorm.apply(x, module.weight, 1e-5), x, grad)
    torch.testing.assert_close(ours, theirs)


def test_found_by_what_they_do() -> None:
    other = Gemma2RMSNorm(24)
    with torch.no_grad():
        other.weight.normal_()
    plain = nn.LayerNorm(24, bias=False)
    twice = nn.Sequential(norm(), norm(torch.bfloat16), other, plain)
    assert len(Fused(twice, [rms_norm])) == 2


def test_the_model_keeps_its_own_forward() -> None:
    module = nn.Sequential(norm())
    fused = Fused(module, [rms_norm])
    x = torch.randn(2, 24, requires_grad=True)
    with fused.running():
        assert "RmsNorm" in str(module(x).grad_fn)
    assert "RmsNorm" not in str(module(x).grad_fn)
    assert len(Fused(module, [rms_norm])) == 1


def test_the_gradient_leaves_its_input_as_it_was() -> None:
    """In float32 the upcast is no copy, so nothing may be written to it."""
    x, module = torch.randn(3, 24, requires_grad=True), norm()
    before = x.detach().clone()
    out = RmsNorm.apply(x, module.weight, 1e-5).sum()
    first = torch.autograd.grad(out, x, retain_graph=True)
    assert torch.equal(x, before)
    assert torch.equal(torch.autograd.grad(out, x)[0], first[0])


class _Asking(nn.Module):
    """Has a norm's looks, but wants more than one input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(24)), 1e-5

    def forward(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        return x * gate


def test_what_cannot_be_tried_is_left_alone() -> None:
    assert len(Fused(_Asking(), [rms_norm])) == 0
