"""A LoRA adapter's folder in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

https://huggingface.co/docs/peft. The folder may come from anyone: no pickle is opened, no path or
name in it is followed, sizes are bounded, and a setting that would change what the adapter does
in a way that is not ours to know is refused, never passed over.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from cuecard.backbones.adapters.adapter import Adapter, Update
from cuecard.backbones.adapters.target_modules import Targets, pattern_value
from cuecard.errors import AdapterError
from cuecard.lazy import lazy_module, torch
from cuecard.plain_files import PICKLE_STARTS, parse_json, read_bytes
from cuecard.validation_text import expected

if TYPE_CHECKING:
    from torch import Tensor

safetensors_torch = lazy_module("safetensors.torch")

CONFIG_FILE, TENSOR_FILE = "adapter_config.json", "adapter_model.safetensors"
MAX_RANK = 4096
MAX_CONFIG_BYTES = 1 << 20
MAX_TENSOR_BYTES = 4 << 30
_MAX_MODULES = 100_000
RUN_FOLDER = "adapter"
"""Where a LoRA run keeps its adapter, in the run's folder."""
_PREFIX = "base_model.model."
_NAME = re.compile(r"(?P<module>[\w.-]+)\.lora_(?P<part>[AB])\.weight")
_DTYPES = ("torch.float32", "torch.float16", "torch.bfloat16")

# Said of an adapter, and nothing to what it does once it is trained.
_SAYS_NOTHING = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "eva_config",
        "inference_mode",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "task_type",
    }
)
# Other starts than these change the base model's own weights.
_STARTS = (True, False, "gaussian", "orthogonal", "eva")


def _several(value: Any) -> Any:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) else _several(value)


Names = Annotated[str | tuple[str, ...], BeforeValidator(_several)]
Rank = Annotated[int, Field(ge=1, le=MAX_RANK)]
Alpha = Annotated[float, Field(allow_inf_nan=False)]


class _Config(BaseModel):
    """The settings that say what a LoRA adapter does."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    peft_type: Literal["LORA"]
    target_modules: Annotated[str | tuple[str, ...], BeforeValidator(_several)]
    r: Rank = 8
    lora_alpha: Alpha = 8.0
    use_rslora: bool = False
    rank_pattern: dict[str, Rank] | None = None
    alpha_pattern: dict[str, Alpha] | None = None
    fan_in_fan_out: bool = False
    bias: Literal["none"] = "none"
    init_lora_weights: bool | str | None = True
    exclude_modules: Names = ()
    layers_to_transform: Annotated[tuple[int, ...], BeforeValidator(_listed)] = ()
    layers_pattern: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()

    def scale(self, module: str, rank: int, where: str) -> float:
        """s of a module's update.

        Raises:
            AdapterError: another rank than the settings give it.
        """
        wanted = pattern_value(self.rank_pattern or {}, module, where) or self.r
        if rank != wanted:
            raise AdapterError(
                "an update of another rank than the adapter's settings say",
                where=where,
                got=f"rank {rank} for {module}",
                expected=f"rank {wanted}",
            )
        alpha = pattern_value(self.alpha_pattern or {}, module, where)
        chosen = self.lora_alpha if alpha is None else alpha
        return float(chosen / (math.sqrt(rank) if self.use_rslora else rank))


def read_adapter(folder: str | Path) -> Adapter:
    """A LoRA adapter as PEFT's `save_pretrained` left it.

    Raises:
        AdapterError: no such folder, files that cannot be trusted, another kind of adapter, or a
            setting that this reader does not know.
    """
    place = Path(folder)
    config_path, tensor_path = place / CONFIG_FILE, place / TENSOR_FILE
    content = _read(place, CONFIG_FILE, MAX_CONFIG_BYTES)
    config = _config(parse_json(content, str(config_path), AdapterError), str(config_path))
    tensors = _tensors(_read(place, TENSOR_FILE, MAX_TENSOR_BYTES), str(tensor_path))
    updates = {
        name: Update(down, up, config.scale(name, len(down), str(config_path)))
        for name, (down, up) in _pairs(tensors, str(tensor_path)).items()
    }
    targets = Targets(
        where=str(config_path),
        modules=config.target_modules,
        exclude=config.exclude_modules,
        layers=config.layers_to_transform,
        layers_pattern=config.layers_pattern,
    )
    return Adapter(str(place), updates, targets)


def adapter_files(
    adapter: Adapter,
    *,
    rank: int,
    alpha: float,
    rslora: bool,
    base: str,
    task_type: str | None,
    fan_in_fan_out: bool = False,
) -> dict[str, bytes]:
    """The same folder as PEFT would write it: the content of each file, by name.

    Args:
        rank, alpha: of every update.
        base: what the base model is called; a label, which PEFT takes as a default.
        task_type: what PEFT calls the model.
        fan_in_fan_out: whether its matrices are [I, O], as GPT-2's are.
    """
    targets = adapter.targets.modules
    config = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": targets if isinstance(targets, str) else sorted(targets),
        "task_type": task_type,
        "use_rslora": rslora,
    }
    tensors = {}
    for name, update in sorted(adapter.updates.items()):
        for part, matrix in (("A", update.down), ("B", update.up)):
            plain = matrix.detach().to("cpu", torch.float32).contiguous()
            tensors[f"{_PREFIX}{name}.lora_{part}.weight"] = plain
    return {
        CONFIG_FILE: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode("ascii"),
        TENSOR_FILE: safetensors_torch.save(tensors, {"format": "pt"}),
    }


def _read(folder: Path, name: str, max_bytes: int) -> bytes:
    try:
        return read_bytes(folder / name, max_bytes, "LoRA adapter", AdapterError)
    except FileNotFoundError:
        hint = None
        if (folder / "adapter_model.bin").exists():
            hint = "pickled weights (.bin) are never opened; save the adapter again as safetensors"
        elif (folder / RUN_FOLDER / CONFIG_FILE).exists():
            hint = f"a run's adapter is in a folder of its own: {folder / RUN_FOLDER}"
        raise AdapterError(
            "no LoRA adapter here",
            where=str(folder),
            got=f"no {name}" if folder.is_dir() else "no such folder",
            expected=f"a folder with {CONFIG_FILE} and {TENSOR_FILE}",
            hint=hint,
        ) from None


def _config(values: dict[str, Any], where: str) -> _Config:
    if values.get("peft_type") != "LORA":
        raise AdapterError(
            "an adapter of another kind",
            where=where,
            got=f"peft_type {values.get('peft_type')!r}",
            expected="'LORA'",
            hint="prompts made by PEFT are imported: cuecard import",
        )
    beyond = [
        name
        for name, value in values.items()
        if name not in _Config.model_fields and name not in _SAYS_NOTHING and value
    ]
    start = values.get("init_lora_weights", True)
    if start is not None and start not in _STARTS:
        beyond.append("init_lora_weights")
    if values.get("bias", "none") != "none":
        beyond.append("bias")
    if beyond:
        raise AdapterError(
            "a LoRA adapter with more than low-rank updates of linear layers",
            where=where,
            got=", ".join(f"{name}={json.dumps(values[name])[:60]}" for name in sorted(beyond)[:3]),
            expected="plain LoRA or rsLoRA: no DoRA, no biases, no whole modules, no changed start",
            hint="merge it into its model with PEFT, and take the merged model as the backbone",
        )
    try:
        return _Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise AdapterError(
            "a setting of the adapter that cannot be used",
            where=where,
            got=f"{place}: {str(first.get('input'))[:80]}",
            expected=expected(first),
        ) from error


def _tensors(content: bytes, where: str) -> dict[str, Tensor]:
    if content.startswith(PICKLE_STARTS):
        raise AdapterError(
            "a pickle where safetensors belong; pickles can run code and are never opened",
            where=where,
            expected="a safetensors file",
        )
    try:
        found = safetensors_torch.load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError) as error:
        raise AdapterError(
            "no safetensors file, or a broken one", where=where, got=str(error).split("\n")[0]
        ) from error
    if not 0 < len(found) <= 2 * _MAX_MODULES:
        raise AdapterError(
            "not a sane number of tensors",
            where=where,
            got=len(found),
            expected=f"1 to {2 * _MAX_MODULES}",
        )
    for name, tensor in found.items():
        if str(tensor.dtype) not in _DTYPES or tensor.ndim != 2 or not tensor.numel():
            raise AdapterError(
                "a tensor of the wrong type or shape",
                where=where,
                got=f"{name[:100]}: {tensor.dtype} {tuple(tensor.shape)}",
                expected="a matrix of float32, float16 or bfloat16",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise AdapterError("the adapter contains NaN or infinity", where=where, got=name[:100])
    return {name: tensor.float() for name, tensor in found.items()}


def _pairs(tensors: Mapping[str, Tensor], where: str) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B by the module's name in the model."""
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = _NAME.fullmatch(name.removeprefix(_PREFIX)) if name.startswith(_PREFIX) else None
        if found is None:
            raise AdapterError(
                "the file holds other tensors than a LoRA adapter's of linear layers",
                where=where,
                got=name[:100],
                expected=f"{_PREFIX}MODULE.lora_A.weight and .lora_B.weight",
            )
        halves.setdefault(found["module"], {})[found["part"]] = tensor
    for module, parts in halves.items():
        sizes = {part: tensor.shape[0 if part == "A" else 1] for part, tensor in parts.items()}
        if len(sizes) != 2 or len(set(sizes.values())) != 1 or sizes["A"] > MAX_RANK:
            shapes = {part: tuple(tensor.shape) for part, tensor in sorted(parts.items())}
            raise AdapterError(
                "the halves of an update do not belong together",
                where=where,
                got=f"{module}: {shapes}",
                expected=f"A [R, I] and B [O, R], R at most {MAX_RANK}",
            )
    return {module: (parts["A"], parts["B"]) for module, parts in halves.items()}
