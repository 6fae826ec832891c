"""The manifest's entries against the things they describe."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as torch_load

from cuecard.artifacts import Prompt
from cuecard.artifacts.files import MANIFEST_FILE, PEFT_FILE, read_folder
from cuecard.artifacts.manifest import Manifest, TensorEntry
from cuecard.artifacts.prompt_backbone import PromptBackbone
from cuecard.artifacts.safetensors_file import tensor_file
from cuecard.artifacts.tensors import arrays_of
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError


def test_tensor_entry_is_the_digest_of_the_files_last_bytes(prompt: Prompt) -> None:
    content = tensor_file(arrays_of(prompt.tensors), {"format": "pt"})
    entry = TensorEntry.of(prompt.vectors.numpy())
    assert entry.sha256 == hashlib.sha256(content[-prompt.nbytes :]).hexdigest()
    assert entry.shape == (5, 32)
    assert torch.equal(torch_load(content)["prompt_embeddings"], prompt.vectors)


def test_transposed_rows_are_another_tensor(prompt: Prompt) -> None:
    square = prompt.vectors[:5, :5].numpy()
    assert TensorEntry.of(square).sha256 != TensorEntry.of(square.T).sha256


def test_backbone_entry(backbone: CausalBackbone) -> None:
    entry = PromptBackbone.of(backbone)
    assert entry.name == "tiny-llama"
    assert (entry.hidden_size, entry.num_layers, entry.vocab_size) == (32, 2, 384)
    assert entry.fingerprint.weights == backbone.fingerprint.weights


def test_tensor_for_another_width_than_the_backbones(prompt: Prompt) -> None:
    wide = torch.ones(5, 64).numpy()
    forged = prompt.manifest.model_copy(
        update={"tensors": {"prompt_embeddings": TensorEntry.of(wide)}}
    )
    with pytest.raises(ArtifactError, match="shape is not the one") as caught:
        forged.check_tensors({"prompt_embeddings": wide}, "x")
    assert "hidden size of 32" in str(caught.value.expected)


def test_adapter_config_must_be_the_saved_one(prompt: Prompt, folder: Path) -> None:
    files = read_folder(folder)
    assert Manifest.from_files(files, "x") == prompt.manifest
    other = prompt.manifest.model_copy(update={"adapter_config_sha256": "0" * 64})
    with pytest.raises(ArtifactError, match="altered"):
        Manifest.from_files(files | {MANIFEST_FILE: other.to_bytes()}, "x")
    del files[PEFT_FILE]
    with pytest.raises(ArtifactError, match="missing") as caught:
        Manifest.from_files(files, "s3://bucket, tickets@3")
    assert (caught.value.where, caught.value.expected) == ("s3://bucket, tickets@3", PEFT_FILE)
