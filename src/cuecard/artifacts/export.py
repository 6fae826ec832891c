"""A prompt in the forms that other engines read."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from cuecard.artifacts.checks import tensor_file
from cuecard.artifacts.files import PEFT_FILE, TENSOR_FILE, publish_file, publish_folder
from cuecard.artifacts.prompt import Prompt
from cuecard.errors import ConfigError


def export(prompt: Prompt, path: str | Path, form: str, *, overwrite: bool = False) -> Path:
    """Write a prompt for another engine, in one step.

    Args:
        path: the file to write; for "peft" the folder.
        form: one of FORMS. "npy": the [P, H] float32 array alone. "safetensors": the same with its
            digest, slot, method and backbone as metadata, readable with numpy alone. "peft": an
            adapter without cuecard's own manifest.
        overwrite: replace what is there.

    Returns:
        The absolute path written.

    Raises:
        ConfigError: an unknown form, or one that cannot hold this prompt.
        ArtifactError: the path is taken or cannot be written.
    """
    if form not in FORMS:
        raise ConfigError(
            "an unknown export form", where="form", got=form, expected=" or ".join(FORMS)
        )
    path = Path(path).absolute()
    FORMS[form](prompt, path, overwrite)
    return path


def _write_npy(prompt: Prompt, path: Path, overwrite: bool) -> None:
    buffer = io.BytesIO()
    np.save(buffer, prompt.vectors.numpy(), allow_pickle=False)
    publish_file(path, buffer.getvalue(), overwrite=overwrite)


def _write_safetensors(prompt: Prompt, path: Path, overwrite: bool) -> None:
    metadata = {
        "digest": prompt.digest,
        "slot": prompt.manifest.slot,
        "method": prompt.manifest.method,
        "backbone": prompt.manifest.backbone.name,
        "backbone_embeddings_sha256": prompt.manifest.backbone.fingerprint.embeddings,
    }
    publish_file(path, tensor_file(prompt.vectors, metadata), overwrite=overwrite)


def _write_peft(prompt: Prompt, path: Path, overwrite: bool) -> None:
    config = prompt.adapter_config()
    if config is None:
        raise ConfigError(
            "PEFT cannot hold this prompt",
            where="form",
            got=f"the {prompt.manifest.slot} slot",
            expected="the prefix slot",
            hint="export it as npy or safetensors",
        )
    tensor = tensor_file(prompt.vectors, {"format": "pt"})
    publish_folder(path, {PEFT_FILE: config, TENSOR_FILE: tensor}, overwrite=overwrite)


FORMS: Mapping[str, Callable[[Prompt, Path, bool], None]] = MappingProxyType(
    {"peft": _write_peft, "npy": _write_npy, "safetensors": _write_safetensors}
)
