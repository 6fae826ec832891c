"""Which quantised forms a backbone can be loaded in, and how it gets there.

"int8" and "int4" are quantised by torchao (https://github.com/pytorch/ao) on any device, "nf4" and
"llm-int8" by bitsandbytes, whose kernels are made for CUDA: NF4 with double quantisation as in
QLoRA (Dettmers et al., 2023, arXiv:2305.14314, section 3) and LLM.int8 (Dettmers et al., 2022,
arXiv:2208.07339). Embeddings, norms, biases and the LM head stay as they are: logits are computed
at the reads alone, so the head costs little, and its errors would go straight into the scores.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, get_args

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from cuecard.backbones.libraries import torchao_quantization
from cuecard.backbones.quantization.forms import Quantize
from cuecard.backbones.quantization.linear import IntegerForm, QuantizedLinear
from cuecard.backbones.quantization.weights import quantized_buffers
from cuecard.errors import BackboneError

# Sizes of int4's groups, best first; 64 is NF4's block too. A scale and a zero per group of 64 make
# 4.4 bits of 4. Groups of 32 have 0.89 of the error and 4.75 bits.
_GROUPS = (64, 32, 16)


def check_quantize(quantize: str, device: torch.device) -> None:
    """Whether this form can be had here, before anything is loaded.

    Raises:
        BackboneError: an unknown form, a missing package, or no CUDA for bitsandbytes.
    """
    if quantize not in get_args(Quantize):
        raise BackboneError(
            "unknown quantised form",
            where="--quantize",
            got=quantize,
            expected=", ".join(get_args(Quantize)),
        )
    if quantize == "none":
        return
    ours = quantize in get_args(IntegerForm)
    if not ours and device.type != "cuda":
        raise BackboneError(
            f"{quantize} is a form of bitsandbytes, which needs a CUDA device",
            where="--quantize",
            got=f"{quantize} on {device}",
            expected="int8 or int4 on this device",
        )
    package = "torchao" if ours else "bitsandbytes"
    if find_spec(package) is None:
        raise BackboneError(
            f"a package for {quantize} backbones is not installed",
            where="--quantize",
            got=f"no {package}",
            expected=f"pip install 'cuecard[{'quant' if ours else 'bitsandbytes'}]'",
        )


def bitsandbytes_options(
    quantize: Quantize, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """What `from_pretrained` is given besides; nothing for the other forms."""
    if quantize == "nf4":
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    elif quantize == "llm-int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        return {}
    return {"quantization_config": config, "device_map": {"": device}}


def quantize_linears(model: Any, form: IntegerForm) -> None:
    """Replace every linear layer but the LM head, one after the other.

    A layer whose rows do not divide into groups keeps its weights.
    """
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if module is head or not isinstance(module, nn.Linear | Conv1D):
            continue
        weight = module.weight.T if isinstance(module, Conv1D) else module.weight
        group = _group(form, weight.shape[1])
        if group:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, _quantized(form, weight, module, group))


def form_of(model: Any) -> str:
    """The quantised form that a model is held in, by whomever; "none" for plain weights."""
    for module in model.modules():
        if isinstance(module, QuantizedLinear):
            return module.form
    config = getattr(model.config, "quantization_config", None)
    if config is None:
        return "none"
    if getattr(config, "load_in_4bit", False):
        return str(config.bnb_4bit_quant_type)
    if getattr(config, "load_in_8bit", False):
        return "llm-int8"
    return str(getattr(config, "quant_method", "unknown"))


def weights_by_name(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Every weight as it is held, sorted by name."""
    return sorted([*model.named_parameters(), *quantized_buffers(model).items()])


def _group(form: IntegerForm, width: int) -> int:
    if form == "int8":
        return width
    return next((size for size in _GROUPS if width % size == 0), 0)


def _quantized(form: IntegerForm, weight: Tensor, module: Any, group: int) -> QuantizedLinear:
    # Rounded to bfloat16 first: a model loaded in float32 and in bfloat16 gets the same codes.
    exact = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    exact.weight = nn.Parameter(weight.detach().to(torch.bfloat16).float(), requires_grad=False)
    holder, torchao = nn.Sequential(exact), torchao_quantization()
    if form == "int8":
        torchao.quantize_(holder, torchao.Int8WeightOnlyConfig(set_inductor_config=False))
    else:
        config = torchao.IntxWeightOnlyConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined]
            granularity=torchao.PerGroup(group),
            mapping_type=torchao.MappingType.ASYMMETRIC,
        )
        torchao.quantize_(holder, config)
    found: Any = exact.weight
    if form == "int8":
        parts = found.qdata, found.scale, None
    else:  # torchao has -8 to 7
        parts = found.qdata + 8, found.scale, (found.zero_point + 8).to(torch.int8)
    return QuantizedLinear(form, *parts, module.bias, weight.dtype)
