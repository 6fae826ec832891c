"""Quantised backbones: every architecture, the same answers packed and padded, bound prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cuecard.artifacts import Prompt
from cuecard.backbones import CausalBackbone, load_frozen
from cuecard.backbones.quantization import quantize as module
from cuecard.backbones.quantization.forms import loadable_form
from cuecard.backbones.quantization.linear import IntegerForm, QuantizedLinear
from cuecard.backbones.quantization.quantize import (
    bitsandbytes_options,
    check_quantize,
    form_of,
    quantize_linears,
)
from cuecard.errors import BackboneError, WrongBackboneError
from cuecard.methods import PromptTuning
from cuecard.tasks import collate
from cuecard.training import TrainConfig
from cuecard.training.train import train
from cuecard.types import Encoded, InputTokens, Placement
from support.data.reviews import MASKED_SPEC, review_task, reviews
from support.tiny import CONFIGS, MASKED, SEQ2SEQ, tiny_backbone, tiny_model, tiny_tokenizer

CPU = torch.device("cpu")
ROWS = [[10 + i, 11, *range(20, 30 + i)] for i in range(1, 7)]


def quantized(kind: str, form: IntegerForm) -> CausalBackbone:
    model = tiny_model(kind)
    quantize_linears(model, form)
    return CausalBackbone(model, tiny_tokenizer(), f"tiny-{kind}")


def densified(kind: str, form: IntegerForm) -> CausalBackbone:
    """The plain model with the weights that the quantised one stands for."""
    model, source = tiny_model(kind), quantized(kind, form).model
    for name, layer in source.named_modules():
        if isinstance(layer, QuantizedLinear):
            twin: Any = model.get_submodule(name)
            dense = layer.weight if isinstance(twin, nn.Linear) else layer.weight.T
            twin.weight.data.copy_(dense)
    return CausalBackbone(model, tiny_tokenizer(), f"tiny-{kind}")


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("longest", [512, 0], ids=["packed", "padded"])
def test_loss_and_gradient_are_those_of_the_dense_weights(
    kind: str, form: IntegerForm, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cuecard.backbones.causal._PACKED_LENGTH", longest)
    batch = collate([(Encoded(tuple(row), ()), (7,)) for row in ROWS])
    found = []
    for backbone in (quantized(kind, form), densified(kind, form)):
        vectors = 0.1 * torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
        vectors.requires_grad_(True)
        logits = backbone.forward(batch, InputTokens(vectors))
        loss = -logits.log_softmax(-1)[:, 5].sum()
        loss.backward()
        assert vectors.grad is not None
        found.append((loss.detach(), vectors.grad))
    (loss, gradient), (plain, other) = found
    assert abs(float(loss - plain)) <= 1e-6 * abs(float(plain))
    assert float((gradient - other).norm()) <= 1e-5 * float(other.norm())


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_linear_layer_but_the_head(kind: str) -> None:
    model = tiny_model(kind)
    before = model.get_output_embeddings()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | module.Conv1D)]
    quantize_linears(model, "int8")
    made = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
    assert model.get_output_embeddings() is before
    assert len(made) == len(layers) - 1 > 0
    assert form_of(model) == "int8"


def test_rows_that_do_not_divide_into_groups_are_left() -> None:
    model = tiny_model()
    model.model.layers[0].mlp.up_proj = nn.Linear(33, 8)
    quantize_linears(model, "int4")
    assert isinstance(model.model.layers[0].mlp.up_proj, nn.Linear)


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_training_leaves_the_codes_alone_and_binds_the_prompt(
    form: IntegerForm, tmp_path: Path
) -> None:
    backbone = quantized("llama", form)
    digest = backbone.digest()
    config = TrainConfig(steps=3, batch_rows=4)
    method = PromptTuning(length=4, init="random")
    run = train(backbone, review_task(40), method, config, folder=tmp_path)
    assert backbone.digest() == digest
    again = train(quantized("llama", form), review_task(40), method, config)
    assert again.prompt.digest == run.prompt.digest
    assert run.prompt.manifest.backbone.fingerprint.quantize == form
    Prompt.load(tmp_path / "prompt", quantized("llama", form))
    with pytest.raises(WrongBackboneError, match=f"for this model quantised as {form}") as told:
        Prompt.load(tmp_path / "prompt", tiny_backbone())
    assert f"--quantize {form}" in str(told.value)


def test_a_plain_prompt_is_refused_on_a_quantised_form(tmp_path: Path) -> None:
    config = TrainConfig(steps=2, batch_rows=4)
    run = train(tiny_backbone(), review_task(40), None, config, folder=tmp_path)
    assert "quantize" not in (tmp_path / "prompt" / "prompt.json").read_text()
    assert run.prompt.manifest.backbone.fingerprint.quantize == "none"
    with pytest.raises(WrongBackboneError, match="for this model without quantisation"):
        Prompt.load(tmp_path / "prompt", quantized("llama", "int8"))
    other = tiny_model(seed=1)
    quantize_linears(other, "int8")
    with pytest.raises(WrongBackboneError, match="made for another backbone"):
        Prompt.load(tmp_path / "prompt", CausalBackbone(other, tiny_tokenizer(), "other"))


def test_one_changed_code_shows_in_digest_and_fingerprint() -> None:
    backbone, other = quantized("llama", "int8"), quantized("llama", "int8")
    assert backbone.digest() == other.digest()
    other.model.model.layers[0].mlp.up_proj.codes[0, 0] ^= 1
    assert backbone.digest() != other.digest()
    assert backbone.fingerprint.weights != other.fingerprint.weights
    assert backbone.fingerprint == quantized("llama", "int8").fingerprint


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_folder_loads_in_this_form_in_either_precision(form: IntegerForm, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    exact = load_frozen(tmp_path, dtype="fp32", device="cpu", quantize=form)
    half = load_frozen(tmp_path, dtype="bf16", device="cpu", quantize=form)
    assert exact.fingerprint == half.fingerprint and exact.fingerprint.quantize == form
    assert (exact.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    assert exact.generate(ROWS[:2], [Placement()] * 2, None, 3)


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("kind", ["t5-relu", "t5-gated", "bart", "marian-scaled"])
def test_an_encoder_decoder_is_its_dense_weights(
    kind: str, form: IntegerForm, tmp_path: Path
) -> None:
    tiny_model(kind).save_pretrained(tmp_path)
    tiny_tokenizer(SEQ2SEQ[kind][1]).save_pretrained(tmp_path)
    held = load_frozen(tmp_path, dtype="fp32", device="cpu", quantize=form)
    assert held.fingerprint.quantize == form
    dense = load_frozen(tmp_path, dtype="fp32", device="cpu")
    for name, layer in held.model.named_modules():
        if isinstance(layer, QuantizedLinear):
            dense.model.get_submodule(name).weight.data.copy_(layer.weight)
    batch = collate([(Encoded(tuple(row), ()), (7,)) for row in ROWS])
    found = []
    for backbone in (held, dense):
        vectors = torch.full((3, 32), 0.1, requires_grad=True)
        loss = -backbone.forward(batch, InputTokens(vectors)).log_softmax(-1)[:, 7].sum()
        loss.backward()
        assert vectors.grad is not None
        found.append((loss.detach(), vectors.grad))
    assert sum(isinstance(m, QuantizedLinear) for m in held.model.modules()) >= 20
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert held.generate(ROWS[:2], [Placement()] * 2, None, 3) == dense.generate(
        ROWS[:2], [Placement()] * 2, None, 3
    )


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("kind", MASKED)
def test_a_masked_model_is_its_dense_weights(kind: str, form: IntegerForm, tmp_path: Path) -> None:
    tiny_model(kind).save_pretrained(tmp_path)
    tiny_backbone(kind).tokenizer.save_pretrained(tmp_path)
    held = load_frozen(tmp_path, dtype="fp32", device="cpu", quantize=form)
    assert held.fingerprint.quantize == form
    dense = load_frozen(tmp_path, dtype="fp32", device="cpu")
    for name, layer in held.model.named_modules():
        if isinstance(layer, QuantizedLinear):
            dense.model.get_submodule(name).weight.data.copy_(layer.weight)
    assert sum(isinstance(m, QuantizedLinear) for m in held.model.modules()) >= 8
    rows = [MASKED_SPEC.encode(record, held.tokenizer) for record in reviews(4)]
    batch = collate([(row, ()) for row in rows], read="next")
    vectors = InputTokens(torch.full((3, 32), 0.1))
    ours, theirs = (backbone.forward(batch, vectors) for backbone in (held, dense))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="unknown quantised form"):
        check_quantize("int3", CPU)
    for form in ("nf4", "llm-int8"):
        with pytest.raises(BackboneError, match="needs a CUDA device"):
            load_frozen(tmp_path, device="cpu", quantize=form)  # type: ignore[arg-type]
    check_quantize("none", CPU)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match="not installed") as told:
        check_quantize("int4", CPU)
    assert "cuecard[quant]" in str(told.value)
    with pytest.raises(BackboneError, match="bitsandbytes"):
        check_quantize("nf4", torch.device("cuda"))


def test_what_bitsandbytes_is_asked_for() -> None:
    cuda = torch.device("cuda", 0)
    options = bitsandbytes_options("nf4", torch.bfloat16, cuda)
    config = options["quantization_config"]
    assert config.load_in_4bit and config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_use_double_quant and config.bnb_4bit_compute_dtype == torch.bfloat16
    assert options["device_map"] == {"": cuda}
    assert bitsandbytes_options("llm-int8", torch.bfloat16, cuda)[
        "quantization_config"
    ].load_in_8bit
    assert bitsandbytes_options("int8", torch.bfloat16, cuda) == {}


def test_forms_by_others_are_named() -> None:
    model = tiny_model()
    for form in ("nf4", "llm-int8"):
        options = bitsandbytes_options(form, torch.bfloat16, CPU)  # type: ignore[arg-type]
        model.config.quantization_config = options["quantization_config"]
        assert form_of(model) == form
    model.config.quantization_config = type("Config", (), {"quant_method": "awq"})()
    assert form_of(model) == "awq"
    assert [loadable_form(name) for name in ("int4", "nf4", "awq")] == ["int4", "nf4", "none"]
