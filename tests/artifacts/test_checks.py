"""The manifest's entries against the things they describe."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as torch_load

from cuecard.artifacts import Prompt
from cuecard.artifacts.checks import (
    check_peft_file,
    check_tensors,
    describe_backbone,
    describe_tensor,
    tensor_file,
)
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError


def test_tensor_entry_is_the_digest_of_the_files_last_bytes(prompt: Prompt) -> None:
    content = tensor_file(prompt.tensors, {"format": "pt"})
    entry = describe_tensor(prompt.vectors)
    assert entry.sha256 == hashlib.sha256(content[-prompt.nbytes :]).hexdigest()
    assert entry.shape == (5, 32)
    assert torch.equal(torch_load(content)["prompt_embeddings"], prompt.vectors)


def test_transposed_rows_are_another_tensor(prompt: Prompt) -> None:
    square = prompt.vectors[:5, :5]
    assert describe_tensor(square).sha256 != describe_tensor(square.T).sha256


def test_backbone_entry(backbone: CausalBackbone) -> None:
    entry = describe_backbone(backbone)
    assert entry.name == "tiny-llama"
    assert (entry.hidden_size, entry.num_layers, entry.vocab_size) == (32, 2, 384)
    assert entry.fingerprint.weights == backbone.fingerprint.weights


def test_tensor_for_another_width_than_the_backbones(prompt: Prompt) -> None:
    wide = torch.ones(5, 64)
    forged = prompt.manifest.model_copy(
        update={"tensors": {"prompt_embeddings": describe_tensor(wide)}}
    )
    with pytest.raises(ArtifactError, match="another shape") as caught:
        check_tensors(forged, {"prompt_embeddings": wide}, "x")
    assert "hidden size of 32" in str(caught.value.expected)


def test_adapter_config_must_be_the_saved_one(prompt: Prompt, folder: Path) -> None:
    check_peft_file(prompt.manifest, folder)
    other = prompt.manifest.model_copy(update={"adapter_config_sha256": "0" * 64})
    with pytest.raises(ArtifactError, match="altered"):
        check_peft_file(other, folder)
