"""Importing adapters that PEFT wrote; what cannot be imported faithfully is refused."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cuecard.artifacts import Prompt, import_peft
from cuecard.artifacts.safetensors_file import TENSOR_NAME
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError, WrongBackboneError
from cuecard.tasks.spec import TaskSpec

CONFIG = {
    "base_model_name_or_path": "somewhere/else",
    "inference_mode": True,
    "modules_to_save": None,
    "num_attention_heads": 4,
    "num_layers": 2,
    "num_transformer_submodules": 1,
    "num_virtual_tokens": 3,
    "peft_type": "PROMPT_TUNING",
    "peft_version": "0.21.2",
    "prompt_tuning_init": "TEXT",
    "prompt_tuning_init_text": "Classify:",
    "task_type": "CAUSAL_LM",
    "token_dim": 32,
    "a_field_of_a_later_version": 1,
}
ROWS = torch.randn(3, 32, generator=torch.Generator().manual_seed(3))


def write(folder: Path, rows: dict[str, torch.Tensor] | None = None, **changes: Any) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **changes}))
    save_file(rows or {TENSOR_NAME: ROWS}, folder / "adapter_model.safetensors")
    return folder


def test_import_then_save_then_load(
    tmp_path: Path, backbone: CausalBackbone, spec: TaskSpec
) -> None:
    (tmp_path / "theirs").mkdir()
    found = import_peft(write(tmp_path / "theirs"), backbone, spec, metrics={"accuracy": 0.5})
    assert torch.equal(found.vectors, ROWS)
    assert found.manifest.created_with["imported_from"] == "peft 0.21.2"
    assert found.manifest.seed is None
    found.save(tmp_path / "ours")
    assert Prompt.load(tmp_path / "ours", backbone).manifest == found.manifest


def test_saving_over_the_adapter_itself(
    tmp_path: Path, backbone: CausalBackbone, spec: TaskSpec
) -> None:
    found = import_peft(write(tmp_path), backbone, spec)
    found.save(tmp_path, overwrite=True)
    assert Prompt.load(tmp_path, backbone).digest == found.digest


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(
    tmp_path: Path, backbone: CausalBackbone, spec: TaskSpec, dtype: torch.dtype
) -> None:
    found = import_peft(write(tmp_path, {TENSOR_NAME: ROWS.to(dtype)}), backbone, spec)
    assert torch.equal(found.vectors, ROWS.to(dtype).float())


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "LORA"},
        {"peft_type": None},
        {"peft_type": ["PROMPT_TUNING"]},
        {"task_type": "SEQ_2_SEQ_LM"},
        {"num_transformer_submodules": 2},
        {"modules_to_save": ["lm_head"]},
    ],
    ids=str,
)
def test_other_adapters_are_refused_by_field(
    tmp_path: Path, backbone: CausalBackbone, spec: TaskSpec, changes: dict[str, Any]
) -> None:
    with pytest.raises(ArtifactError, match="kind of adapter") as caught:
        import_peft(write(tmp_path, **changes), backbone, spec)
    assert str(caught.value.where).endswith(next(iter(changes)))


@pytest.mark.parametrize("changes", [{"num_virtual_tokens": 4}, {"token_dim": 64}], ids=str)
def test_tensor_and_configuration_must_agree(
    tmp_path: Path, backbone: CausalBackbone, spec: TaskSpec, changes: dict[str, Any]
) -> None:
    with pytest.raises(ArtifactError, match="does not match its configuration"):
        import_peft(write(tmp_path, **changes), backbone, spec)


def test_another_width_or_depth_is_another_backbone(
    tmp_path: Path, backbone: CausalBackbone, spec: TaskSpec
) -> None:
    wide = write(tmp_path, {TENSOR_NAME: torch.ones(3, 64)}, token_dim=64)
    with pytest.raises(WrongBackboneError, match="somewhere/else"):
        import_peft(wide, backbone, spec)
    with pytest.raises(WrongBackboneError, match="30 layers"):
        import_peft(write(tmp_path, num_layers=30), backbone, spec)


def test_more_tensors_or_bad_numbers_are_refused(
    tmp_path: Path, backbone: CausalBackbone, spec: TaskSpec
) -> None:
    both = {TENSOR_NAME: ROWS, "base_model.lm_head.weight": ROWS.clone()}
    with pytest.raises(ArtifactError, match="exactly the prompt's tensor"):
        import_peft(write(tmp_path, both), backbone, spec)
    with pytest.raises(ArtifactError, match="NaN"):
        import_peft(write(tmp_path, {TENSOR_NAME: ROWS * torch.nan}), backbone, spec)


def test_pickled_weights_are_refused_with_a_way_out(
    tmp_path: Path, backbone: CausalBackbone, spec: TaskSpec
) -> None:
    write(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ArtifactError, match="save the adapter again as safetensors"):
        import_peft(tmp_path, backbone, spec)


def test_a_key_given_twice_is_refused(
    tmp_path: Path, backbone: CausalBackbone, spec: TaskSpec
) -> None:
    path = write(tmp_path) / "adapter_config.json"
    path.write_text(path.read_text().replace('"token_dim": 32', '"token_dim": 1, "token_dim": 32'))
    with pytest.raises(ArtifactError, match="occurs twice"):
        import_peft(tmp_path, backbone, spec)
