"""An adapter on a model: what it changes, what it does not, and models that it is not for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cuecard.artifacts import Prompt, check_backbone
from cuecard.backbones import load_frozen
from cuecard.backbones.adapters.adapter import merge
from cuecard.backbones.adapters.peft_folder import read_adapter
from cuecard.errors import AdapterError, WrongBackboneError
from cuecard.tasks import collate
from cuecard.types import Backbone
from support.data.reviews import SPEC, reviews
from support.peft_adapters import TARGETS, change_config, save_adapter, save_kind
from support.tiny import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_kind(tmp_path_factory.mktemp("models") / "tiny", "llama")


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapters") / "lora")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapters") / "other", seed=2)


def logits(backbone: Backbone) -> torch.Tensor:
    rows = [SPEC.encode(record, backbone.tokenizer) for record in reviews(4)]
    with torch.no_grad():
        return backbone.forward(collate([(row, ()) for row in rows], read="next"), None)


@pytest.mark.parametrize("kind", TARGETS)
def test_only_what_is_targeted_changes(kind: str, tmp_path: Path) -> None:
    adapter = read_adapter(save_adapter(tmp_path / "lora", kind))
    model, plain = tiny_model(kind), tiny_model(kind).state_dict()
    merge(model, adapter)
    changed = {name for name, t in model.state_dict().items() if not torch.equal(t, plain[name])}
    assert changed == {f"{name}.weight" for name in adapter.updates}


def test_rounded_once(base: Path, lora: Path) -> None:
    exact = load_frozen(base, dtype="fp32", adapter=lora)
    half = load_frozen(base, dtype="bf16", adapter=lora)
    adapter = read_adapter(lora)
    for name in adapter.updates:
        plain = tiny_model().get_submodule(name).weight.bfloat16().float()
        expected = (plain + adapter.updates[name].delta()).bfloat16()
        assert torch.equal(half.model.get_submodule(name).weight, expected)
    # Rounded sums differ, yet base and adapter are the same.
    assert exact.fingerprint == half.fingerprint


def test_the_fingerprint_is_the_bases_and_the_adapters(base: Path, lora: Path, other: Path) -> None:
    plain = load_frozen(base, dtype="fp32")
    adapted = load_frozen(base, dtype="fp32", adapter=lora)
    assert plain.fingerprint.adapter == "none"
    assert adapted.fingerprint == replace(plain.fingerprint, adapter=read_adapter(lora).digest)
    assert load_frozen(base, adapter=other).fingerprint.adapter != adapted.fingerprint.adapter
    assert adapted.digest() != plain.digest()


MODELS = {"bare": None, "lora": "lora", "other": "other"}


@pytest.mark.parametrize("given", MODELS)
@pytest.mark.parametrize("made", MODELS)
def test_a_prompt_belongs_to_base_and_adapter(
    made: str, given: str, base: Path, lora: Path, other: Path, tmp_path: Path
) -> None:
    adapters = {"bare": None, "lora": lora, "other": other}
    first = load_frozen(base, dtype="fp32", adapter=adapters[made])
    second = load_frozen(base, dtype="fp32", adapter=adapters[given])
    prompt = Prompt.create(
        torch.ones(3, 32),
        backbone=first,
        spec=SPEC,
        method="prompt-tuning",
        method_config={},
        slot="prefix",
    )
    folder = prompt.save(tmp_path / "prompt")
    assert (b'"adapter"' in (folder / "prompt.json").read_bytes()) is (made != "bare")
    if made == given:
        assert Prompt.load(folder, second).digest == prompt.digest
        return
    with pytest.raises(WrongBackboneError, match="another LoRA adapter") as caught:
        Prompt.load(folder, second)
    expected, got = first.fingerprint.adapter, second.fingerprint.adapter
    assert ("no adapter" if made == "bare" else expected) in str(caught.value.expected)
    assert ("no adapter" if given == "bare" else got) in str(caught.value.got)
    assert ("without --adapter" in str(caught.value.hint)) is (made == "bare")


def test_another_base_is_still_another_backbone(base: Path, lora: Path, tmp_path: Path) -> None:
    adapted = load_frozen(base, adapter=lora)
    elsewhere = load_frozen(save_kind(tmp_path / "b", "llama", seed=1), adapter=lora)
    prompt = Prompt.create(
        torch.ones(3, 32),
        backbone=adapted,
        spec=SPEC,
        method="prompt-tuning",
        method_config={},
        slot="prefix",
    )
    with pytest.raises(WrongBackboneError, match="made for another backbone") as caught:
        check_backbone(prompt.manifest.backbone, elsewhere)
    assert "adapter" not in str(caught.value.got)


def test_merged_then_quantised(base: Path, lora: Path) -> None:
    pytest.importorskip("torchao")
    plain = load_frozen(base, dtype="fp32", adapter=lora)
    held = load_frozen(base, dtype="fp32", adapter=lora, quantize="int8")
    assert held.fingerprint == replace(plain.fingerprint, quantize="int8")
    name = "model.layers.0.self_attn.q_proj"
    merged = plain.model.get_submodule(name).weight
    assert (held.model.get_submodule(name).weight - merged).abs().max() < 0.02 * merged.abs().max()
    bare = load_frozen(base, dtype="fp32", quantize="int8")
    assert (logits(held) - logits(plain)).abs().max() < (logits(bare) - logits(plain)).abs().max()


@pytest.mark.parametrize("form", ["nf4", "llm-int8"])
def test_not_onto_weights_that_come_quantised(
    base: Path, lora: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cuecard.backbones.loading.check_quantize", lambda *_: None)
    with pytest.raises(AdapterError, match="before they are quantised") as caught:
        load_frozen(base, adapter=lora, quantize=form)  # type: ignore[arg-type]
    assert form in str(caught.value.got)


def llama(**sizes: int) -> LlamaForCausalLM:
    given = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48} | sizes
    model = LlamaForCausalLM(LlamaConfig(vocab_size=384, num_attention_heads=4, **given))
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    return model


def test_models_that_it_is_not_for(lora: Path) -> None:
    cases = {
        "an update of 32 x 32": (llama(hidden_size=64, intermediate_size=96), "64 x 64"),
        "nothing for model.layers.2": (
            llama(num_hidden_layers=3),
            "every module in target_modules",
        ),
        "which GPT2LMHeadModel does not have": (tiny_model("gpt2"), "linear layers"),
    }
    for got, (model, expected) in cases.items():
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with pytest.raises(AdapterError, match="does not fit") as caught:
            merge(model, read_adapter(lora))
        assert got in str(caught.value.got) and expected in str(caught.value.expected)
        assert caught.value.where == str(lora)
        assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_more_in_the_file_than_in_the_settings(tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "lora")
    change_config(folder, target_modules=["q_proj"])
    with pytest.raises(AdapterError) as caught:
        merge(tiny_model(), read_adapter(folder))
    assert "down_proj" in str(caught.value.got) and "not in target_modules" in str(caught.value.got)


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_the_lm_head_is_left_alone(tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "lora", target_modules=["lm_head"])
    with pytest.raises(AdapterError):
        merge(tiny_model(), read_adapter(folder))
