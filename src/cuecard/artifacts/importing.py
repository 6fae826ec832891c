"""Prompts made elsewhere: PEFT's adapters and plain numpy arrays.

Neither names a task or proves its backbone: the caller gives both, and the prompt is bound to them.

PEFT (https://github.com/huggingface/peft): PROMPT_TUNING and P_TUNING hold the vectors that reach
the model, the latter what its encoder made of them; PREFIX_TUNING and CARTRIDGE hold keys and
values [P, L * 2 * K * D]. MULTITASK_PROMPT_TUNING holds a shared prompt P* and factors u_k, v_k for
each task k; what reaches the model is P* o (u_k v_k) (Wang et al. 2023, arXiv:2303.02861, section
3.1).

For encoder-decoders PEFT makes [2P, H] of P virtual tokens, unless told otherwise
(num_transformer_submodules: 2): one half for the encoder, one for the decoder. Its forward and its
generate put the first half into the encoder's input and never use the second, which stays as it
started and is dropped here.

The other way needs no code: a saved prompt folder with the prefix slot is such an adapter.

Arrays: google-research/prompt-tuning publishes its prompts for T5 1.1 as [100, 768] float32, which
go in front of the encoder's input.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cuecard.artifacts.adapter_config import KEYS_VALUES
from cuecard.artifacts.files import (
    MAX_JSON_BYTES,
    MAX_TENSOR_BYTES,
    PEFT_FILE,
    TENSOR_FILE,
    read_plain_file,
)
from cuecard.artifacts.prompt import Prompt
from cuecard.artifacts.safetensors_file import (
    MAX_VECTORS,
    TENSOR_NAME,
    check_finite,
    parse_tensors,
)
from cuecard.artifacts.tensors import TASK_COLUMNS, TASK_ROWS, LazyTensors
from cuecard.errors import ArtifactError, ConfigError, WrongBackboneError
from cuecard.lazy import np, torch
from cuecard.plain_files import parse_json
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, Encoded, Injection, InputTokens, PrefixKV

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES = ("F32", "F16", "BF16")
_PLAIN = {TENSOR_NAME: 2}
_RANKS: Mapping[str, Mapping[str, int]] = {
    "PROMPT_TUNING": _PLAIN,
    "P_TUNING": _PLAIN,
    "PREFIX_TUNING": _PLAIN,
    "CARTRIDGE": _PLAIN,
    "MULTITASK_PROMPT_TUNING": {TASK_COLUMNS: 3, TASK_ROWS: 3, **_PLAIN},
}


# Where not plain prompt tuning. What made a prefix of PEFT's is not to be seen in it.
_METHODS: dict[str, str] = {"P_TUNING": "p-tuning", **dict.fromkeys(KEYS_VALUES, "p-tuning-v2")}


def import_peft(
    folder: str | Path,
    backbone: Backbone,
    spec: TaskSpec,
    *,
    task: int | Literal["shared"] | None = None,
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
        task: of a multitask adapter, the number of the task, or "shared" for the shared prompt
            without any task's factors, to start a new one from; may be left out with one task.

    Raises:
        ConfigError: no such task, or the adapter has no tasks to choose from.
        WrongBackboneError: the adapter's widths are not the backbone's.
        ArtifactError: another kind of adapter, pickled weights, or a broken file.
    """
    folder = Path(folder)
    config = parse_json(read_plain_file(folder, PEFT_FILE, MAX_JSON_BYTES), str(folder / PEFT_FILE))
    _check_kind(config, folder, backbone)
    kind = str(config["peft_type"])
    content = read_plain_file(folder, TENSOR_FILE, MAX_TENSOR_BYTES)
    arrays = parse_tensors(content, str(folder / TENSOR_FILE), _RANKS[kind], _DTYPES)
    found = LazyTensors(arrays)
    made = _of_task(found, task, folder)
    if kind in KEYS_VALUES:
        injection: Injection = _prefix(config, made, backbone, folder)
    else:
        _check_widths(config, tuple(made.shape), backbone, folder)
        made = made[: config["num_virtual_tokens"]]
        injection = InputTokens(made)
    return Prompt.create(
        injection,
        backbone=backbone,
        spec=spec,
        method=_METHODS.get(kind, "prompt-tuning"),
        method_config={"length": len(made), "slot": "prefix"},
        slot="prefix",
        metrics=metrics,
        probes=probes,
        created_with={"imported_from": f"peft {config.get('peft_version') or 'unknown'}"},
    )


def import_npy(
    path: str | Path,
    backbone: Backbone,
    spec: TaskSpec,
    *,
    metrics: Mapping[str, Any] | None = None,
    probes: Sequence[Encoded] = (),
) -> Prompt:
    """A prompt from a .npy file of [P, H] numbers, for the front of the input.

    Args:
        path: the file; an array of objects, which is a pickle, is never opened.
        backbone: the model that the prompt was trained on.
        spec: the task that it was trained for.

    Raises:
        WrongBackboneError: the array's width is not the backbone's.
        ArtifactError: no array of finite numbers with P rows and H columns.
    """
    path = Path(path)
    vectors = _read_array(path)
    if vectors.shape[1] != backbone.hidden_size:
        raise WrongBackboneError(
            "the array was made for another backbone",
            where=str(path),
            got=f"{backbone.name}: {backbone.hidden_size} wide",
            expected=f"a backbone that is {vectors.shape[1]} wide",
        )
    return Prompt.create(
        vectors,
        backbone=backbone,
        spec=spec,
        method="prompt-tuning",
        method_config={"length": len(vectors), "slot": "prefix"},
        slot="prefix",
        metrics=metrics,
        probes=probes,
        created_with={"imported_from": "npy"},
    )


def _of_task(
    found: Mapping[str, Tensor], task: int | Literal["shared"] | None, folder: Path
) -> Tensor:
    """[P, H] what reaches the model for one task."""
    shared = found[TENSOR_NAME]
    columns, rows = found.get(TASK_COLUMNS), found.get(TASK_ROWS)
    if columns is None or rows is None:
        if task is not None:
            raise ConfigError(
                "the adapter has no tasks to choose from",
                where=str(folder),
                got=task,
                expected="none",
            )
        return shared
    sizes = len(rows), shared.shape[0], rows.shape[1]
    if tuple(columns.shape) != sizes or rows.shape[2] != shared.shape[1]:
        raise ArtifactError(
            "the adapter's factors do not fit its prompt",
            where=str(folder),
            got=f"{tuple(columns.shape)} and {tuple(rows.shape)}",
            expected=f"[tasks, {shared.shape[0]}, rank] and [tasks, rank, {shared.shape[1]}]",
        )
    if task == "shared":
        return shared
    number = 0 if task is None and len(rows) == 1 else task
    if number is None or not 0 <= number < len(rows):
        raise ConfigError(
            "choose one task of the multitask adapter",
            where=str(folder),
            got="no task" if number is None else number,
            expected=f"0 to {len(rows) - 1}, or shared",
        )
    return shared * (columns[number] @ rows[number])


def _prefix(
    config: Mapping[str, Any], matrix: Tensor, backbone: Backbone, folder: Path
) -> PrefixKV:
    """Keys and values, if they are of the backbone's sizes."""
    if (kept := backbone.states(backbone.embeddings[:1]).keys_values) is None:
        raise WrongBackboneError(
            "the backbone keeps no keys and values that a prefix could join",
            where=str(folder),
            got=backbone.name,
        )
    heads, size = kept.shape[2], kept.shape[4]
    claimed = tuple(
        config.get(name)
        for name in ("num_virtual_tokens", "num_layers", "num_attention_heads", "token_dim")
    )
    own = len(matrix), backbone.num_layers, heads, heads * size
    if matrix.shape[1] != own[1] * 2 * own[3] or claimed != own:
        raise WrongBackboneError(
            "the adapter's keys and values do not fit the backbone",
            where=str(folder),
            got=f"shape {tuple(matrix.shape)}; positions, layers, key heads, width {claimed}",
            expected=f"{backbone.name}: shape ({own[0]}, {own[1] * 2 * own[3]}); {own}",
        )
    return PrefixKV.of_matrix(matrix, own[1], heads)


def _check_kind(config: Mapping[str, Any], folder: Path, backbone: Backbone) -> None:
    if backbone.peft_task is None:
        raise ArtifactError(
            "PEFT does not run this backbone as the model itself runs",
            where=backbone.name,
            got="embeddings with a scale that PEFT omits, or a prompt after a first token",
            expected="a backbone that PEFT runs as the model itself runs",
        )
    # Of encoder-decoders' prompts only these are held against PEFT in the tests.
    kinds = tuple(_RANKS) if backbone.causal else ("PROMPT_TUNING",)
    wanted: dict[str, tuple[Any, ...]] = {
        "peft_type": kinds,
        "task_type": (backbone.peft_task, None),
        "num_transformer_submodules": _submodules(backbone),
        # Other trained modules would be lost without a word.
        "modules_to_save": (None, []),
    }
    for name, accepted in wanted.items():
        if config.get(name) not in accepted:
            raise ArtifactError(
                "this kind of adapter cannot be imported",
                where=f"{folder / PEFT_FILE}: {name}",
                got=config.get(name),
                expected=f"{' or '.join(map(str, accepted))}: "
                f"a prompt for a model like {backbone.name}",
            )


def _submodules(backbone: Backbone) -> tuple[int | None, ...]:
    return (2, 1, None) if backbone.peft_task == "SEQ_2_SEQ_LM" else (1, None)


def _check_widths(
    config: Mapping[str, Any], shape: tuple[int, ...], backbone: Backbone, folder: Path
) -> None:
    claimed = (config.get("num_virtual_tokens"), config.get("token_dim"))
    times = config.get("num_transformer_submodules") or _submodules(backbone)[0] or 1
    if claimed[0] is None or (claimed[0] * times, claimed[1]) != shape:
        raise ArtifactError(
            "the adapter's tensor does not match its configuration",
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


def _read_array(path: Path) -> Tensor:
    content = read_plain_file(path.parent, path.name, MAX_TENSOR_BYTES)
    try:
        # Not np.load, which opens archives of arrays too.
        found = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise ArtifactError(
            "cannot read the array", where=str(path), got=str(error).split("\n")[0]
        ) from error
    plain = found.ndim == 2 and found.dtype.kind == "f"
    if not plain or not 1 <= len(found) <= MAX_VECTORS:
        raise ArtifactError(
            "the array is not a prompt",
            where=str(path),
            got=f"shape {found.shape}, {found.dtype}",
            expected=f"1 to {MAX_VECTORS} rows of floats",
        )
    vectors = np.array(found, dtype=np.float32)
    check_finite(vectors, str(path))
    return torch.from_numpy(vectors)
