"""Write a prompt in formats that other engines read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cuecard.artifacts.adapter_config import PeftType
from cuecard.artifacts.files import PEFT_FILE, TENSOR_FILE, publish_file, publish_folder
from cuecard.artifacts.prompt import Prompt
from cuecard.artifacts.safetensors_file import TENSOR_NAME, tensor_file
from cuecard.artifacts.tensors import TASK_COLUMNS, TASK_ROWS, arrays_of
from cuecard.errors import ConfigError
from cuecard.lazy import np, torch

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor


def export(prompt: Prompt, path: str | Path, form: str, *, overwrite: bool = False) -> Path:
    """Write a prompt for another engine, in one step.

    Args:
        path: the file to write; for the adapters the folder.
        form: one of FORMS. "npy": the [P, H] float32 array alone. "safetensors": all arrays with
            digest, slot, method and backbone as metadata, readable with numpy alone. "peft": an
            adapter without cuecard's own manifest; "peft-p-tuning" and "peft-multitask": the same
            vectors as PEFT's P_TUNING and MULTITASK_PROMPT_TUNING, "peft-cartridge" keys and values
            as its CARTRIDGE, see `adapter_config`.
        overwrite: replace what is there.

    Returns:
        The absolute path written.

    Raises:
        ConfigError: an unknown form, or one that cannot hold this prompt.
        ArtifactError: the path is taken or cannot be written.
    """
    if form not in FORMS:
        raise ConfigError(
            "unknown export format", where="form", got=form, expected=" or ".join(FORMS)
        )
    path = Path(path).absolute()
    FORMS[form](prompt, path, overwrite)
    return path


def peft_config(prompt: Prompt) -> PeftConfig:
    """What PEFT makes a model of: a `PromptTuningConfig`, of keys and values `PrefixTuningConfig`.

    The vectors go in by `set_peft_model_state_dict(model, {"prompt_embeddings": prompt.vectors})`.

    Raises:
        ConfigError: PEFT has no form for the prompt, or is not installed.
    """
    values = json.loads(_config_of(prompt, None))
    try:
        peft = import_module("peft")
    except ImportError as error:
        raise ConfigError(
            "this needs PEFT",
            where="peft_config",
            got="it is not installed",
            expected="pip install 'cuecard[compare]'",
        ) from error
    # As its users write one. PEFT fills in the model's name, and warns where there is another.
    own = {"inference_mode": False, "base_model_name_or_path": None}
    found: PeftConfig = peft.PeftConfig.from_peft_type(**values | own)
    return found


def _write_npy(prompt: Prompt, path: Path, overwrite: bool) -> None:
    if set(prompt.tensors) != {TENSOR_NAME}:
        raise ConfigError(
            "an .npy file cannot hold this prompt",
            where="form",
            got=", ".join(prompt.tensors),
            expected=f"{TENSOR_NAME} alone",
            hint="export it as safetensors",
        )
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
    publish_file(path, tensor_file(arrays_of(prompt.tensors), metadata), overwrite=overwrite)


def _write_peft(prompt: Prompt, path: Path, overwrite: bool) -> None:
    _write_adapter(prompt, path, overwrite, None, {})


def _write_p_tuning(prompt: Prompt, path: Path, overwrite: bool) -> None:
    _write_adapter(prompt, path, overwrite, "P_TUNING", {})


def _write_multitask(prompt: Prompt, path: Path, overwrite: bool) -> None:
    """One task whose factors are ones: the shared prompt as it is."""
    length, width = prompt.vectors.shape
    factors = {TASK_COLUMNS: torch.ones(1, length, 1), TASK_ROWS: torch.ones(1, 1, width)}
    _write_adapter(prompt, path, overwrite, "MULTITASK_PROMPT_TUNING", factors)


def _write_cartridge(prompt: Prompt, path: Path, overwrite: bool) -> None:
    _write_adapter(prompt, path, overwrite, "CARTRIDGE", {})


def _write_adapter(
    prompt: Prompt,
    path: Path,
    overwrite: bool,
    peft_type: PeftType | None,
    more: Mapping[str, Tensor],
) -> None:
    config = _config_of(prompt, peft_type)
    tensors = tensor_file(arrays_of({**prompt.tensors, **more}), {"format": "pt"})
    publish_folder(path, {PEFT_FILE: config, TENSOR_FILE: tensors}, overwrite=overwrite)


def _config_of(prompt: Prompt, peft_type: PeftType | None) -> bytes:
    """The content of `adapter_config.json`.

    Raises:
        ConfigError: PEFT has no form for the prompt.
    """
    if prompt.head() is not None:
        raise ConfigError(
            "PEFT's format has no place for this prompt's head",
            where="form",
            got=f"a head for the kind {prompt.spec.kind}",
            expected="a prompt without a head",
            hint="export it as safetensors, which holds the head too",
        )
    config, task = prompt.adapter_config(peft_type), prompt.manifest.backbone.peft_task
    if config is None:
        raise ConfigError(
            "PEFT has no format for this prompt",
            where="form",
            got=f"{prompt.manifest.injection} ({', '.join(prompt.tensors) or 'no tensors'}) in the "
            f"{prompt.manifest.slot} slot, for "
            + ("a backbone without a PEFT task type" if task is None else task),
            expected=f"{TENSOR_NAME} alone in the prefix slot; keys and values as peft or "
            "peft-cartridge",
            hint="export it as safetensors"
            if prompt.vectors.numel()
            else "it has no vectors; its words: --form text, dspy or promptfoo",
        )
    return config


FORMS: Mapping[str, Callable[[Prompt, Path, bool], None]] = MappingProxyType(
    {
        "peft": _write_peft,
        "peft-p-tuning": _write_p_tuning,
        "peft-multitask": _write_multitask,
        "peft-cartridge": _write_cartridge,
        "npy": _write_npy,
        "safetensors": _write_safetensors,
    }
)
