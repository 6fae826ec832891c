"""What a manifest says of the other files, compared with what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors.numpy import save as safetensors_bytes
from torch import Tensor

from cuecard.artifacts.files import PEFT_FILE
from cuecard.artifacts.load import MAX_JSON_BYTES, TENSOR_NAME, check_finite, read_plain_file
from cuecard.artifacts.manifest import (
    BackboneEntry,
    FingerprintEntry,
    Manifest,
    TensorEntry,
    first_problem,
)
from cuecard.errors import ArtifactError, CuecardError
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone


def describe_backbone(backbone: Backbone) -> BackboneEntry:
    """The manifest's entry for a backbone."""
    found = backbone.fingerprint
    return BackboneEntry(
        name=backbone.name,
        fingerprint=FingerprintEntry(
            config=found.config,
            tokenizer=found.tokenizer,
            embeddings=found.embeddings,
            weights=found.weights,
            quantize=found.quantize,
        ),
        hidden_size=backbone.hidden_size,
        num_layers=backbone.num_layers,
        vocab_size=backbone.vocab_size,
    )


def describe_tensor(vectors: Tensor) -> TensorEntry:
    """The manifest's entry for the vectors."""
    rows, width = vectors.shape
    return TensorEntry(
        sha256=hashlib.sha256(_little_endian(vectors).tobytes()).hexdigest(),
        shape=(rows, width),
        dtype="F32",
    )


def tensor_file(vectors: Tensor, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with the vectors, under the name that PEFT gives them."""
    return safetensors_bytes({TENSOR_NAME: _little_endian(vectors)}, dict(metadata))


def check_tensor(manifest: Manifest, vectors: Tensor, where: str) -> None:
    """The vectors are finite, and the ones whose digest and shape the manifest holds."""
    if set(manifest.tensors) != {TENSOR_NAME}:
        raise ArtifactError(
            "the manifest does not describe exactly the prompt's tensor",
            where=where,
            got=", ".join(sorted(manifest.tensors)[:5]) or "no tensor",
            expected=TENSOR_NAME,
        )
    entry = manifest.tensors[TENSOR_NAME]
    check_finite(vectors, where)
    if tuple(vectors.shape) != entry.shape or entry.shape[1] != manifest.backbone.hidden_size:
        raise ArtifactError(
            "the tensor has another shape than the manifest says",
            where=where,
            got=tuple(vectors.shape),
            expected=f"{entry.shape}, for a hidden size of {manifest.backbone.hidden_size}",
        )
    if (found := describe_tensor(vectors).sha256) != entry.sha256:
        raise ArtifactError(
            "the tensor was altered: its bytes do not match the manifest",
            where=where,
            got=found,
            expected=entry.sha256,
        )


def check_peft_file(manifest: Manifest, folder: Path) -> None:
    """`adapter_config.json` is the one that was saved, or absent where PEFT has no such form."""
    expected = manifest.adapter_config_sha256
    path = str(folder / PEFT_FILE)
    if expected is None:
        if (folder / PEFT_FILE).exists() or (folder / PEFT_FILE).is_symlink():
            raise ArtifactError(
                "an adapter configuration that does not belong to this prompt",
                where=path,
                hint=f"PEFT has no {manifest.slot} slot; remove the file",
            )
        return
    content = read_plain_file(folder, PEFT_FILE, MAX_JSON_BYTES)
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise ArtifactError(
            "the adapter configuration was altered: it does not match the manifest",
            where=path,
            got=found,
            expected=expected,
        )


def check_task(manifest: Manifest, where: str) -> None:
    """The task is one that this version can use."""
    try:
        TaskSpec.model_validate(manifest.task)
    except (ValidationError, CuecardError) as error:
        problem = error.what if isinstance(error, CuecardError) else first_problem(error)
        raise ArtifactError(
            "the manifest holds a task that cannot be used", where=where, got=problem
        ) from error


def _little_endian(vectors: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ascontiguousarray(vectors.detach().numpy(), dtype="<f4")
