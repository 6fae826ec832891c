"""The forms for other engines."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from cuecard.artifacts import FORMS, Prompt
from cuecard.artifacts.export import export, peft_config
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError, ConfigError
from cuecard.tasks.encoding.batching import collate
from cuecard.types import PrefixKV, Record
from support.data.reviews import SPEC
from support.tiny import tiny_model

# Keys and values alone have the other one: tests/parity/test_peft_prefix.py.
OF_VECTORS = tuple(form for form in FORMS if form != "peft-cartridge")


def test_npy_is_the_plain_array(prompt: Prompt, tmp_path: Path) -> None:
    path = export(prompt, tmp_path / "deep" / "p.npy", "npy")
    found = np.load(path, allow_pickle=False)
    assert found.dtype == np.float32
    assert np.array_equal(found, prompt.vectors.numpy())


def test_safetensors_is_read_with_numpy_alone(prompt: Prompt, tmp_path: Path) -> None:
    path = export(prompt, str(tmp_path / "p.safetensors"), "safetensors")
    assert np.array_equal(load_file(path)["prompt_embeddings"], prompt.vectors.numpy())
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert metadata["digest"] == prompt.digest
    assert metadata["slot"] == "prefix"
    assert metadata["backbone"] == "tiny-llama"


def test_peft_is_the_adapter_alone(prompt: Prompt, folder: Path, tmp_path: Path) -> None:
    path = export(prompt, tmp_path / "adapter", "peft")
    assert {entry.name for entry in path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    for entry in path.iterdir():
        assert entry.read_bytes() == (folder / entry.name).read_bytes()
    config = json.loads((path / "adapter_config.json").read_bytes())
    assert (config["num_virtual_tokens"], config["token_dim"], config["num_layers"]) == (5, 32, 2)


def test_a_suffix_prompt_has_no_peft_form(make_prompt: Any, tmp_path: Path) -> None:
    suffix = make_prompt("suffix")
    with pytest.raises(ConfigError, match="PEFT has no format"):
        export(suffix, tmp_path / "adapter", "peft")
    assert list(tmp_path.iterdir()) == []
    path = export(suffix, tmp_path / "p.safetensors", "safetensors")
    with safe_open(path, "numpy") as file:
        assert file.metadata()["slot"] == "suffix"


def test_unknown_form_lists_the_known_ones(prompt: Prompt, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="peft-cartridge or npy or safetensors"):
        export(prompt, tmp_path / "p", "pickle")


@pytest.mark.parametrize("form", OF_VECTORS)
def test_taken_path_is_kept_unless_told(
    prompt: Prompt, make_prompt: Any, tmp_path: Path, form: str
) -> None:
    def content() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    export(prompt, tmp_path / "out", form)
    before = content()
    other = make_prompt(vectors=prompt.vectors + 1)
    with pytest.raises(ArtifactError, match=r"already exists|not empty"):
        export(other, tmp_path / "out", form)
    assert content() == before
    export(other, tmp_path / "out", form, overwrite=True)
    assert content().keys() == before.keys()
    assert content() != before


@pytest.mark.parametrize("form", OF_VECTORS)
def test_a_failing_write_leaves_nothing(
    prompt: Prompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="No space left"):
        export(prompt, tmp_path / "out", form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_peft_takes_the_config_and_the_vectors(prompt: Prompt, backbone: CausalBackbone) -> None:
    config = peft_config(prompt)
    assert isinstance(config, peft.PromptTuningConfig)
    assert config.num_virtual_tokens == 5
    model = peft.get_peft_model(tiny_model(), config)
    peft.set_peft_model_state_dict(model, {"prompt_embeddings": prompt.vectors})
    trained = [p for p in model.parameters() if p.requires_grad]
    assert [tuple(p.shape) for p in trained] == [(5, 32)]
    row = prompt.spec.encode(Record({"text": "warm"}, None), backbone.tokenizer)
    ids = torch.tensor([row.context])
    with torch.no_grad():
        theirs = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
        ours = backbone.forward(collate([(row, ())], read="next"), prompt.injection())[0]
    torch.testing.assert_close(theirs, ours.reshape(-1), atol=1e-5, rtol=1e-5)


def test_keys_and_values_are_prefix_tuning(backbone: CausalBackbone) -> None:
    keys_values = torch.randn(2, 2, 2, 3, 8)
    prompt = Prompt.create(
        PrefixKV(keys_values),
        backbone=backbone,
        spec=SPEC,
        method="p-tuning-v2",
        method_config={"length": 3},
        slot="prefix",
    )
    config = peft_config(prompt)
    assert isinstance(config, peft.PrefixTuningConfig)
    assert (config.num_virtual_tokens, config.num_attention_heads, config.token_dim) == (3, 2, 16)


def test_what_peft_has_no_form_for_is_refused(
    make_prompt: Any, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="PEFT has no format"):
        peft_config(make_prompt("suffix"))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'cuecard\[compare\]'"):
        peft_config(prompt)
