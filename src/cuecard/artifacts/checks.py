"""What a manifest says of the other files, compared with what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cuecard.artifacts.files import PEFT_FILE
from cuecard.artifacts.manifest import (
    BackboneEntry,
    FingerprintEntry,
    Manifest,
    TensorEntry,
)
from cuecard.artifacts.safetensors_file import MAX_JSON_BYTES, check_finite, read_plain_file
from cuecard.artifacts.tensors import HEAD_BIAS, HEAD_NAMES, HEAD_WEIGHT, NAMES
from cuecard.errors import ArtifactError, CuecardError
from cuecard.lazy import lazy_module, np
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone
from cuecard.validation_text import first_problem

if TYPE_CHECKING:
    from torch import Tensor

safetensors_numpy = lazy_module("safetensors.numpy")


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
            adapter=found.adapter,
        ),
        hidden_size=backbone.hidden_size,
        num_layers=backbone.num_layers,
        vocab_size=backbone.vocab_size,
        peft_task=backbone.peft_task,
    )


def describe_tensor(tensor: Tensor) -> TensorEntry:
    """The manifest's entry for a tensor."""
    return TensorEntry(
        sha256=hashlib.sha256(_little_endian(tensor).tobytes()).hexdigest(),
        shape=tuple(tensor.shape),
        dtype="F32",
    )


def tensor_file(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with these tensors."""
    plain = {name: _little_endian(tensor) for name, tensor in tensors.items()}
    return bytes(safetensors_numpy.save(plain, dict(metadata)))


def check_tensors(manifest: Manifest, tensors: Mapping[str, Tensor], where: str) -> None:
    """The tensors are finite, and the ones whose digests and shapes the manifest holds."""
    check_names(manifest, where)
    for name, tensor in tensors.items():
        entry = manifest.tensors[name]
        check_finite(tensor, where)
        if tuple(tensor.shape) != entry.shape or not _fits(manifest, name):
            raise ArtifactError(
                "the tensor has another shape than the manifest says",
                where=where,
                got=tuple(tensor.shape),
                expected=f"{entry.shape}, for a hidden size of {manifest.backbone.hidden_size}, "
                f"{manifest.backbone.num_layers} layers and {manifest.key_heads or 'no'} key heads",
            )
        if (found := describe_tensor(tensor).sha256) != entry.sha256:
            raise ArtifactError(
                "the tensor was altered: its bytes do not match the manifest",
                where=where,
                got=found,
                expected=entry.sha256,
            )


def _fits(manifest: Manifest, name: str) -> bool:
    """Whether a tensor of the shape that the manifest gives can be what it says it is."""
    layers, hidden = manifest.backbone.num_layers, manifest.backbone.hidden_size
    shape, outputs = manifest.tensors[name].shape, TaskSpec.model_validate(manifest.task).outputs
    if name in HEAD_NAMES:
        return shape == {HEAD_WEIGHT: (outputs, hidden), HEAD_BIAS: (outputs,)}[name]
    if manifest.injection == "prefix-kv":
        return shape[-1] % (layers * 2 * (manifest.key_heads or 1)) == 0
    if manifest.injection == "layer-tokens":
        return shape[0] == layers and shape[-1] == hidden
    return shape[-1] == hidden


def check_names(manifest: Manifest, where: str) -> None:
    """The manifest names the tensors of its kind of prompt."""
    needed, allowed = NAMES[manifest.injection]
    names = set(manifest.tensors) - HEAD_NAMES
    headed = TaskSpec.model_validate(manifest.task).headed
    if (HEAD_NAMES if headed else set()) != set(manifest.tensors) & HEAD_NAMES or headed is not (
        manifest.head is not None
    ):
        raise ArtifactError(
            "the manifest's head is not the one its task needs",
            where=where,
            got=f"head {manifest.head}, {', '.join(sorted(set(manifest.tensors) & HEAD_NAMES))}",
            expected="a linear head with weight and bias" if headed else "none",
        )
    with_heads = manifest.injection == "prefix-kv"
    if (
        bool(needed) is not bool(names & needed)
        or not names <= needed | allowed
        or with_heads is not (manifest.key_heads is not None)
    ):
        raise ArtifactError(
            "the manifest does not describe exactly the prompt's tensor",
            where=where,
            got=", ".join(sorted(names)[:5]) or "no tensor",
            expected=f"{' or '.join(sorted(needed)) or 'no tensor'}"
            + (" and key_heads" if with_heads else ", without key_heads"),
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
                hint="PEFT has no form for this kind of prompt; remove the file",
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


def _little_endian(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype="<f4")
