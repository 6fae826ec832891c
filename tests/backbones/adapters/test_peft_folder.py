"""An adapter's folder may come from anyone: what cannot be trusted or understood is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cuecard.backbones.adapters import peft_folder
from cuecard.backbones.adapters.peft_folder import CONFIG_FILE, TENSOR_FILE, read_adapter
from cuecard.errors import AdapterError, BackboneError
from support.peft_adapters import change_config, change_tensors, save_adapter

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

A_NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_adapter(tmp_path / "lora")


def refused(folder: Path) -> AdapterError:
    before = sorted(folder.iterdir()) if folder.is_dir() else None
    with pytest.raises(AdapterError) as caught:
        read_adapter(folder)
    assert before == (sorted(folder.iterdir()) if folder.is_dir() else None)
    assert caught.value.where and caught.value.where.startswith(str(folder))
    return caught.value


def test_what_is_read(folder: Path) -> None:
    found = read_adapter(folder)
    assert sorted(found.updates) == sorted(
        f"model.layers.{layer}.{name}"
        for layer in (0, 1)
        for name in ("self_attn.q_proj", "mlp.down_proj")
    )
    update = found.updates["model.layers.0.mlp.down_proj"]
    assert (update.down.shape, update.up.shape, update.scale) == ((4, 48), (32, 4), 6 / 4)


def test_the_digest_is_of_what_it_does(folder: Path, tmp_path: Path) -> None:
    first = read_adapter(folder).digest
    change_config(folder, base_model_name_or_path="elsewhere", lora_dropout=0.5, r=4)
    assert read_adapter(folder).digest == first
    change_tensors(folder, lambda t: t.update({k: v.to(torch.bfloat16) for k, v in t.items()}))
    rounded = read_adapter(folder).digest
    change_tensors(folder, lambda t: t.update({k: v.float() for k, v in t.items()}))
    assert read_adapter(folder).digest == rounded != first
    change_config(folder, lora_alpha=7)
    assert read_adapter(folder).digest not in (first, rounded)
    assert read_adapter(save_adapter(tmp_path / "other", seed=2)).digest != first


BEYOND: dict[str, dict[str, Any]] = {
    "DoRA": {"use_dora": True},
    "biases": {"bias": "lora_only"},
    "biases of B": {"lora_bias": True},
    "whole modules": {"modules_to_save": ["lm_head"]},
    "new tokens": {"trainable_token_indices": [1, 2]},
    "layers twice": {"layer_replication": [[0, 2]]},
    "activated LoRA": {"alora_invocation_tokens": [5]},
    "parameters": {"target_parameters": ["mlp.experts"]},
    "PiSSA": {"init_lora_weights": "pissa_niter_4"},
    "LoftQ": {"init_lora_weights": "loftq"},
    "what comes in a year": {"use_next_years_trick": {"how": "much"}},
}


@pytest.mark.parametrize("name", BEYOND)
def test_more_than_plain_lora(folder: Path, name: str) -> None:
    change_config(folder, **BEYOND[name])
    error = refused(folder)
    assert "more than low-rank updates" in error.what
    assert next(iter(BEYOND[name])) in str(error.got)
    assert "merge it" in str(error.hint)


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "LOHA", None, 3])
def test_another_kind(folder: Path, kind: Any) -> None:
    change_config(folder, peft_type=kind)
    assert "another kind" in refused(folder).what


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("r", 0),
        ("r", "8"),
        ("r", 1 << 20),
        ("lora_alpha", "16"),
        ("use_rslora", 1),
        ("target_modules", {"q_proj": 1}),
        ("target_modules", [1]),
        ("rank_pattern", {"q_proj": 2.5}),
        ("layers_to_transform", ["1"]),
    ],
)
def test_settings_that_do_not_fit(folder: Path, setting: str, value: Any) -> None:
    change_config(folder, **{setting: value})
    error = refused(folder)
    assert "cannot be used" in error.what and str(error.got).startswith(setting)


def test_another_rank_than_the_settings_say(folder: Path) -> None:
    change_config(folder, rank_pattern={"down_proj": 2})
    error = refused(folder)
    assert "rank 4" in str(error.got) and error.expected == "rank 2"


@pytest.mark.parametrize("pattern", ["(", "(a|b|ab)*(?:q_proj", "x" * 3000])
def test_patterns_that_are_none(folder: Path, pattern: str) -> None:
    change_config(folder, alpha_pattern={pattern: 2})
    assert "pattern" in refused(folder).what


def test_a_pattern_that_never_ends(folder: Path) -> None:
    change_config(folder, alpha_pattern={r"(.*.*.*.*.*.*.*.*)\3q": 2})
    assert "takes too long" in str(refused(folder).got)


@pytest.mark.parametrize("text", ["[]", "{", '{"r": NaN}', '{"r": 1, "r": 2}', '{"r": 1e999}'])
def test_broken_settings(folder: Path, text: str) -> None:
    (folder / CONFIG_FILE).write_text(text)
    assert CONFIG_FILE in str(refused(folder).where)


def test_nothing_there(tmp_path: Path) -> None:
    assert refused(tmp_path / "none").got == "no such folder"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").got == f"no {CONFIG_FILE}"
    assert isinstance(refused(tmp_path / "empty"), BackboneError)


def test_a_runs_folder_names_its_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / CONFIG_FILE).write_text("{}")
    assert str(tmp_path / "adapter") in str(refused(tmp_path).hint)


def test_pickles_are_not_opened(folder: Path) -> None:
    (folder / TENSOR_FILE).write_bytes(pickle.dumps({"a": 1}))
    assert "pickle" in refused(folder).what
    torch.save({"a": torch.ones(1)}, folder / TENSOR_FILE)
    assert "pickle" in refused(folder).what
    (folder / TENSOR_FILE).rename(folder / "adapter_model.bin")
    assert "never opened" in str(refused(folder).hint)


@pytest.mark.parametrize("name", [CONFIG_FILE, TENSOR_FILE])
def test_links_are_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    assert "link" in refused(folder).what
    (folder / name).unlink()
    (folder / name).mkdir()
    assert "not a plain file" in refused(folder).what


@pytest.mark.parametrize(
    ("name", "limit"), [(CONFIG_FILE, "MAX_CONFIG_BYTES"), (TENSOR_FILE, "MAX_TENSOR_BYTES")]
)
def test_files_that_are_too_large(
    folder: Path, name: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peft_folder, limit, 200)
    error = refused(folder)
    assert "too large for a LoRA adapter" in error.what and str(error.where).endswith(name)


@pytest.mark.parametrize("cut", [0, 4, 40, -1])
def test_files_that_are_cut_short(folder: Path, cut: int) -> None:
    path = folder / TENSOR_FILE
    path.write_bytes(path.read_bytes()[:cut])
    assert "safetensors" in refused(folder).what


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none(folder: Path, number: float) -> None:
    change_tensors(folder, lambda tensors: tensors[A_NAME].view(-1)[3].fill_(number))
    error = refused(folder)
    assert "NaN or infinity" in error.what and error.got == A_NAME


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"prompt_embeddings": torch.ones(2, 2)},
        {A_NAME: torch.ones(4, 32)},
        {A_NAME: torch.ones(4, 32), A_NAME.replace("_A", "_B"): torch.ones(32, 3)},
        {A_NAME.replace("lora_A.weight", "lora_magnitude_vector"): torch.ones(4, 1)},
        {A_NAME.replace("lora_A.weight", "lora_embedding_A"): torch.ones(4, 384)},
        {"base_model.model.../etc/passwd.lora_A.weight": torch.ones(4, 32)},
        {A_NAME.removeprefix("base_model.model."): torch.ones(4, 32)},
        {A_NAME: torch.ones(4, 32, dtype=torch.float64)},
        {A_NAME: torch.ones(4, 32, dtype=torch.int64)},
        {A_NAME: torch.ones(4)},
        {A_NAME: torch.ones(0, 32)},
    ],
)
def test_other_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / TENSOR_FILE)
    assert TENSOR_FILE in str(refused(folder).where)


def test_what_is_written_is_read_back(folder: Path) -> None:
    found = read_adapter(folder)
    files = peft_folder.adapter_files(
        found, rank=4, alpha=6, rslora=False, base="tiny", task_type="CAUSAL_LM"
    )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    again = read_adapter(folder)
    assert again.digest == found.digest
    assert json.loads(files[CONFIG_FILE])["target_modules"] == ["down_proj", "q_proj"]
