"""Quantised layers give what their dense weights give, and keep nothing of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cuecard.backbones.quantization.linear import (
    IntegerForm,
    QuantizedLinear,
    pack,
    unpack,
)
from cuecard.backbones.quantization.quantize import quantize_linears
from cuecard.backbones.quantization.weights import quantized_buffers, weight_bytes, weight_count
from support.tiny import tiny_model

FORMS: tuple[IntegerForm, ...] = ("int8", "int4")
WORST = {"int8": 0.01, "int4": 0.12}


class Holder(nn.Module):
    def __init__(self, bias: bool = True, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inner = nn.Sequential(nn.Linear(128, 96, bias=bias).to(dtype))
        self.requires_grad_(False)

    def get_output_embeddings(self) -> None:
        return None


def layer_of(form: IntegerForm, **options: object) -> tuple[QuantizedLinear, Tensor]:
    model = Holder(**options)  # type: ignore[arg-type]
    before = model.inner[0].weight.detach().clone()
    quantize_linears(model, form)
    layer = model.inner[0]
    assert isinstance(layer, QuantizedLinear) and layer.form == form
    return layer, before


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_near(form: IntegerForm) -> None:
    layer, before = layer_of(form)
    error = float((layer.weight - before).norm() / before.norm())
    assert 1e-4 < error < WORST[form]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_product_and_gradient_are_those_of_the_dense_weight(form: IntegerForm, bias: bool) -> None:
    layer, _ = layer_of(form, bias=bias)
    x = torch.randn(2, 5, 128, requires_grad=True)
    twin = x.detach().clone().requires_grad_(True)
    weight = torch.randn(2, 5, 96)
    (layer(x) * weight).sum().backward()
    plain = nn.functional.linear(twin, layer.weight, layer.bias)
    (plain * weight).sum().backward()
    assert x.grad is not None and twin.grad is not None
    torch.testing.assert_close(layer(x), plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x.grad, twin.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_kept_for_the_backward_pass(form: IntegerForm) -> None:
    layer, _ = layer_of(form, bias=False)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = layer(torch.randn(3, 128, requires_grad=True))
    assert y.requires_grad and not kept


@pytest.mark.parametrize("form", FORMS)
def test_float32_and_bfloat16_have_the_same_codes(form: IntegerForm) -> None:
    exact, _ = layer_of(form)
    half, _ = layer_of(form, dtype=torch.bfloat16)
    assert torch.equal(exact.codes, half.codes)
    assert half(torch.zeros(1, 128, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_packing_is_undone() -> None:
    codes = torch.randint(0, 16, (6, 64))
    packed = pack(codes, 4)
    assert packed.shape == (6, 32) and packed.dtype == torch.uint8
    assert torch.equal(unpack(packed, 4).reshape(6, 64), codes.to(torch.uint8))


@pytest.mark.parametrize("form", FORMS)
def test_sizes(form: IntegerForm) -> None:
    plain, model = tiny_model(), tiny_model()
    quantize_linears(model, form)
    assert weight_count(model) == weight_count(plain) == sum(p.numel() for p in plain.parameters())
    assert weight_bytes(model) < weight_bytes(plain)
    held = quantized_buffers(model)
    assert {name.rpartition(".")[2] for name in held} >= {"codes", "scale"}
    layers = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
    assert len(layers) == 2 * 7 and "int" in repr(layers[0])
    # 8 bits a weight and 4 bytes a row; 4 bits, and 5 bytes for each group of 32 or 16.
    layer = model.model.layers[0].mlp.down_proj
    bytes_of = sum(t.numel() * t.element_size() for t in layer.buffers())
    assert bytes_of == {"int8": 32 * 48 + 32 * 4, "int4": 32 * 24 + 32 * 3 * 5}[form]
