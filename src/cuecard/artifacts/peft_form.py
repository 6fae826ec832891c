"""Adapters made by PEFT (https://github.com/huggingface/peft), prompt tuning on causal models.

The other way needs no code: a saved prompt folder with the prefix slot is such an adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuecard.artifacts.files import PEFT_FILE, TENSOR_FILE
from cuecard.artifacts.load import (
    MAX_JSON_BYTES,
    MAX_TENSOR_BYTES,
    parse_json,
    parse_vectors,
    read_plain_file,
)
from cuecard.artifacts.prompt import Prompt
from cuecard.errors import ArtifactError, WrongBackboneError
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded


def import_peft(
    folder: str | Path,
    backbone: Backbone,
    spec: TaskSpec,
    *,
    metrics: Mapping[str, Any] | None = None,
    probes: Sequence[Encoded] = (),
) -> Prompt:
    """A prompt from a folder that PEFT's `save_pretrained` wrote.

    Such a folder names no task and does not prove its backbone: both are what is given here, and
    from then on the prompt is bound to them.

    Args:
        folder: with `adapter_config.json` and `adapter_model.safetensors` (F32, F16 or BF16).
        backbone: the adapter's base model.
        spec: the task that it was trained for.

    Raises:
        WrongBackboneError: the adapter's widths are not the backbone's.
        ArtifactError: another kind of adapter, pickled weights, or a broken file.
    """
    folder = Path(folder)
    config = parse_json(read_plain_file(folder, PEFT_FILE, MAX_JSON_BYTES), str(folder / PEFT_FILE))
    _check_kind(config, folder)
    content = read_plain_file(folder, TENSOR_FILE, MAX_TENSOR_BYTES)
    vectors = parse_vectors(content, str(folder / TENSOR_FILE), ("F32", "F16", "BF16"))
    _check_widths(config, tuple(vectors.shape), backbone, folder)
    return Prompt.create(
        vectors,
        backbone=backbone,
        spec=spec,
        method="prompt-tuning",
        method_config={"length": len(vectors), "slot": "prefix"},
        slot="prefix",
        metrics=metrics,
        probes=probes,
        created_with={"imported_from": f"peft {config.get('peft_version') or 'unknown'}"},
    )


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    wanted: dict[str, tuple[Any, ...]] = {
        "peft_type": ("PROMPT_TUNING",),
        "task_type": ("CAUSAL_LM", None),
        "num_transformer_submodules": (1, None),
        # Other trained modules would be lost without a word.
        "modules_to_save": (None, []),
    }
    for name, accepted in wanted.items():
        if config.get(name) not in accepted:
            raise ArtifactError(
                "this kind of adapter cannot be imported",
                where=f"{folder / PEFT_FILE}: {name}",
                got=config.get(name),
                expected=f"{accepted[0]}: prompt tuning of a causal language model",
            )


def _check_widths(
    config: Mapping[str, Any], shape: tuple[int, ...], backbone: Backbone, folder: Path
) -> None:
    claimed = (config.get("num_virtual_tokens"), config.get("token_dim"))
    if claimed != shape:
        raise ArtifactError(
            "the adapter's tensor and configuration do not agree",
            where=str(folder),
            got=f"shape {shape}",
            expected=f"num_virtual_tokens {claimed[0]}, token_dim {claimed[1]}",
        )
    layers = config.get("num_layers")
    if shape[1] != backbone.hidden_size or layers not in (None, backbone.num_layers):
        raise WrongBackboneError(
            "the adapter was made for another backbone",
            where=str(folder),
            got=f"{backbone.name}: {backbone.hidden_size} wide, {backbone.num_layers} layers",
            expected=f"{config.get('base_model_name_or_path') or 'a model'}: "
            f"{shape[1]} wide, {layers} layers",
        )
