"""PEFT's own configuration class takes what is written, field by field."""

import json
from dataclasses import fields
from pathlib import Path

import torch
from peft import PeftConfig, PromptTuningConfig
from peft.utils.peft_types import PeftType, TaskType

from cuecard.artifacts.adapter_config import adapter_config

ROWS = {"prompt_embeddings": torch.ones(5, 32)}


def test_peft_reads_it_as_its_own(tmp_path: Path) -> None:
    content = adapter_config("prefix", ROWS, num_layers=2, backbone="tiny")
    assert content is not None
    (tmp_path / "adapter_config.json").write_bytes(content)
    found = PeftConfig.from_pretrained(str(tmp_path))
    assert isinstance(found, PromptTuningConfig)
    assert found.peft_type is PeftType.PROMPT_TUNING
    assert found.task_type == TaskType.CAUSAL_LM
    assert (found.num_virtual_tokens, found.token_dim, found.num_layers) == (5, 32, 2)
    assert found.inference_mode
    assert found.base_model_name_or_path == "tiny"
    assert set(json.loads(content)) <= {field.name for field in fields(PromptTuningConfig)}


def test_peft_has_no_suffix() -> None:
    assert adapter_config("suffix", ROWS, num_layers=2, backbone="x") is None


def test_peft_has_no_shifts() -> None:
    shifted = {**ROWS, "token_shifts": torch.ones(3, 32)}
    assert adapter_config("prefix", shifted, num_layers=2, backbone="x") is None
