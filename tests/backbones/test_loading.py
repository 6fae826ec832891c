from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel, BertModel

from cuecard.backbones import CausalBackbone, MaskedBackbone
from cuecard.backbones.loading import choose_device, choose_dtype, load_frozen
from cuecard.errors import BackboneError
from support.tiny import tiny_backbone, tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local folder in the hub's layout."""
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_in_hub_layout_loads(folder: Path) -> None:
    backbone = load_frozen(folder, dtype="fp32", device="cpu")
    assert backbone.fingerprint == tiny_backbone().fingerprint
    assert (backbone.hidden_size, backbone.num_layers, backbone.vocab_size) == (32, 2, 384)
    assert backbone.name == folder.name


def test_precisions(folder: Path) -> None:
    assert load_frozen(folder, dtype="bf16", device="cpu").dtype == torch.bfloat16
    assert load_frozen(folder, dtype="fp32", device="cpu").dtype == torch.float32
    assert choose_dtype("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no config\.json"):
        load_frozen(tmp_path)


def test_a_hub_id_that_cannot_be_reached() -> None:
    with pytest.raises(BackboneError, match="hub id") as caught:
        load_frozen("nobody/nothing-of-this-name")
    assert "cuecard backbones" in str(caught.value)


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(BackboneError):
        load_frozen(folder)


def test_damaged_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BackboneError, match="cut short"):
        load_frozen(folder)


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
BERT = {"vocab_size": 384, "intermediate_size": 16, **SIZES}


def test_an_encoder_without_an_lm_head(folder: Path) -> None:
    BertModel(BertConfig(**BERT)).save_pretrained(folder)
    found = load_frozen(folder, dtype="fp32", device="cpu")
    assert isinstance(found, MaskedBackbone) and not found.has_head
    assert "no masked-LM head" in (found.unreadable("masks") or "")
    assert found.num_layers == 2 and found.unsupported("input-tokens") is None


def test_an_encoder_with_a_missing_layer(folder: Path) -> None:
    model = BertForMaskedLM(BertConfig(**BERT))
    weights = {k: v for k, v in model.state_dict().items() if "layer.1.output" not in k}
    model.save_pretrained(folder, state_dict=weights)
    with pytest.raises(BackboneError, match="do not hold a whole language model") as caught:
        load_frozen(folder)
    assert "encoder.layer.1.output" in (caught.value.got or "")


def test_a_model_built_to_go_on_with_texts_is_no_masked_one(folder: Path) -> None:
    BertLMHeadModel(BertConfig(**BERT, is_decoder=True)).save_pretrained(folder)
    assert isinstance(load_frozen(folder, dtype="fp32", device="cpu"), CausalBackbone)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    for unknown in ("gpu", "cuda:99"):
        with pytest.raises(BackboneError, match="device"):
            choose_device(unknown)
    with pytest.raises(BackboneError, match="precision"):
        choose_dtype("int3", torch.device("cpu"))  # type: ignore[arg-type]
